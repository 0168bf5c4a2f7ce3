"""Kept results: claims, leases, expiry."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.once import ExecutorLost, Once
from executor.results import Bounds, Claim, Results, open_database
from shared.errors import Conflict, GalaksioError, JobUndone, StartupError


class Now:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


async def store(folder: Path, now: Now, owner: str, bounds: Bounds | None = None) -> Results:
    results = Results(open_database(None, folder), owner, now, bounds or Bounds())
    await results.open()
    return results


@pytest.fixture
async def results(tmp_path: Path, now: Now) -> AsyncIterator[Results]:
    made = await store(tmp_path, now, "me")
    yield made
    await made.close()


async def test_the_first_claim_wins_and_the_kept_result_is_given_to_the_next(results: Results) -> None:
    assert await results.claim("a", "task") is Claim.WON
    assert await results.claim("a", "task") is Claim.RUNNING
    await results.keep("a", '{"x":1}')
    assert await results.claim("a", "task") == '{"x":1}'
    assert await results.claim("a", "other task") is Claim.CONFLICT


async def test_of_many_parallel_claims_one_wins(results: Results) -> None:
    claims = await asyncio.gather(*(results.claim("a", "task") for _ in range(20)))
    assert sorted(claim.value for claim in claims if isinstance(claim, Claim)) == ["running"] * 19 + ["won"]


async def test_results_survive_a_restart_and_the_file_is_private(tmp_path: Path, now: Now) -> None:
    first = await store(tmp_path, now, "first")
    await first.claim("a", "task")
    await first.keep("a", "1")
    await first.close()
    second = await store(tmp_path, now, "second")
    assert await second.claim("a", "task") == "1"
    await second.close()
    assert (tmp_path / "executor.sqlite").stat().st_mode & 0o777 == 0o600


async def test_the_claim_of_a_dead_executor_is_lost_once_and_then_free(tmp_path: Path, now: Now) -> None:
    dead = await store(tmp_path, now, "dead")
    await dead.claim("a", "task")
    await dead.close()
    alive = await store(tmp_path, now, "alive")
    assert await alive.claim("a", "task") is Claim.RUNNING
    now.seconds += alive.bounds.lease_s + 1
    assert await alive.claim("a", "task") is Claim.LOST
    assert await alive.claim("a", "task") is Claim.WON
    await alive.close()


async def test_a_sign_of_life_holds_a_claim(results: Results, now: Now) -> None:
    await results.claim("a", "task")
    now.seconds += 10
    await results.extend()
    now.seconds += 10
    assert await results.claim("a", "task") is Claim.RUNNING


async def test_results_expire_and_are_bounded_in_number_and_bytes(tmp_path: Path, now: Now) -> None:
    results = await store(tmp_path, now, "me", Bounds(ttl_s=100, max_rows=3, max_bytes=250))

    async def kept() -> list[str]:
        return [name for name in "abcdef" if isinstance(await probe(name), str)]

    async def probe(name: str) -> Claim | str:
        claim = await results.claim(name, "task")
        if claim is Claim.WON:
            await results.release(name)
        return claim

    for name in "abcde":
        now.seconds += 1
        await results.claim(name, "task")
        await results.keep(name, "x" * (100 if name == "e" else 10))
    assert await results.sweep() == 2
    assert await kept() == ["c", "d", "e"]
    await results.claim("f", "task")
    now.seconds += 1
    await results.keep("f", "x" * 200)
    await results.sweep()
    assert await kept() == ["f"]
    now.seconds += 101
    assert await kept() == []  # expired even before a sweep
    await results.close()


@pytest.fixture
async def once(results: Results) -> AsyncIterator[Once]:
    made = Once(results)
    await made.open()
    yield made
    await made.close()


async def test_parallel_calls_with_one_job_id_run_once(once: Once) -> None:
    runs = []

    async def work() -> str:
        runs.append(1)
        await asyncio.sleep(0.05)
        return str(len(runs))

    assert await asyncio.gather(*(once.run("a", "task", work) for _ in range(20))) == ["1"] * 20
    assert await once.run("a", "task", work) == "1"


async def test_a_different_task_under_a_running_job_id_is_a_conflict(once: Once) -> None:
    async def work() -> str:
        await asyncio.sleep(0.05)
        return "1"

    first = asyncio.create_task(once.run("a", "task", work))
    await asyncio.sleep(0.01)
    with pytest.raises(Conflict) as caught:
        await once.run("a", "another", work)
    assert caught.value.code == "job_id_conflict"
    assert await first == "1"


async def test_a_failure_of_ours_is_not_kept(once: Once) -> None:
    async def broken() -> str:
        raise GalaksioError("the sandbox broke", code="sandbox_failed")

    async def works() -> str:
        return "1"

    with pytest.raises(GalaksioError, match="the sandbox broke"):
        await once.run("a", "task", broken)
    assert await once.run("a", "task", works) == "1"


async def test_a_caller_that_leaves_does_not_stop_the_work(once: Once) -> None:
    finished = asyncio.Event()

    async def work() -> str:
        await asyncio.sleep(0.1)
        finished.set()
        return "1"

    caller = asyncio.create_task(once.run("a", "task", work))
    await asyncio.sleep(0.02)
    caller.cancel()
    await asyncio.wait({caller})
    await asyncio.wait_for(finished.wait(), 10)
    assert await once.run("a", "task", work) == "1"


async def test_closing_stops_the_work_and_gives_the_claim_back(tmp_path: Path, now: Now) -> None:
    once = Once(await store(tmp_path, now, "me"))
    await once.open()
    begun = asyncio.Event()

    async def work() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    caller = asyncio.create_task(once.run("a", "task", work))
    await begun.wait()
    await once.close()
    assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], asyncio.CancelledError)
    again = await store(tmp_path, now, "next")
    assert await again.claim("a", "task") is Claim.WON
    await again.close()


async def test_a_job_of_a_dead_executor_is_reported_and_not_run_silently(tmp_path: Path, now: Now) -> None:
    dead = await store(tmp_path, now, "dead")
    await dead.claim("a", "task")
    await dead.close()
    now.seconds += 60
    once = Once(await store(tmp_path, now, "alive"))
    await once.open()
    runs = []

    async def work() -> str:
        runs.append(1)
        return "1"

    with pytest.raises(ExecutorLost) as caught:
        await once.run("a", "task", work)
    assert (caught.value.status, caught.value.code, runs) == (500, "executor_lost", [])
    assert await once.run("a", "task", work) == "1"
    await once.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "oracle:"])
def test_an_odd_database_url_is_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(StartupError, match="DATABASE_URL"):
        open_database(url, tmp_path)


async def test_an_undone_job_has_no_result_and_is_not_run_again(once: Once, now: Now) -> None:
    runs = []

    async def work() -> str:
        runs.append(1)
        return "1"

    await once.run("a", "task", work)
    for _ in range(2):
        await once.undo("a")
    await once.undo("never seen")
    for job_id in ("a", "never seen"):
        with pytest.raises(JobUndone) as caught:
            await once.run(job_id, "task", work)
        assert (caught.value.status, caught.value.code) == (409, "job_undone")
    assert len(runs) == 1
    now.seconds += Bounds().ttl_s + 1  # remembered for as long as a result
    assert await once.run("a", "task", work) == "1"


async def test_a_job_that_is_undone_while_it_runs_gives_no_result_to_anybody(once: Once) -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "1"

    callers = [asyncio.create_task(once.run("a", "task", work)) for _ in range(2)]
    await asyncio.sleep(0.05)
    await once.undo("a")
    go.set()
    for error in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(error, JobUndone)
    with pytest.raises(JobUndone):
        await once.run("a", "task", work)


async def test_tables_are_made_by_executors_that_start_together(
    postgres_url: str, now: Now, tmp_path: Path
) -> None:
    made = [Results(open_database(postgres_url, tmp_path), str(n), now, Bounds()) for n in range(5)]
    await asyncio.gather(*(one.open() for one in made))
    assert await made[0].claim("a", "task") is Claim.WON
    for one in made:
        await one.close()
