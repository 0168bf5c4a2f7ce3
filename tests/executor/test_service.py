"""The service as a process: `python -m executor` on a free port."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.executor.conftest import REPO, descendants, groups_of, reap_adopted, until, with_marker
from tests.support import programs
from tests.support.ports import free_port
from tests.support.services import READY_S

RANDOM = "import random; print(random.random())"


class Service:
    """A running executor."""

    def __init__(self, process: programs.Program, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False, verify=False)

    async def post(self, path: str, body: Any, **kwargs: Any) -> httpx.Response:
        return await self.client.post(path, json=body, **kwargs)

    async def local(self) -> dict[str, Any]:
        """The row of `GET /providers` of whoever runs code."""
        return await compute_row(self.client)

    def processes(self) -> list[int]:
        return descendants(self.process.pid)

    def left_of(self, processes: list[int]) -> list[int]:
        return [pid for pid in processes if Path(f"/proc/{pid}").exists()]

    async def execute(self, job_id: str, code: str, **fields: Any) -> httpx.Response:
        task = {"jobId": job_id, "taskType": "run", "provider": "local", "code": code, **fields}
        return await self.post("/execute", task)


async def compute_row(client: httpx.AsyncClient) -> dict[str, Any]:
    rows = (await client.get("/providers")).json()["providers"]
    (found,) = [row for row in rows if (row["kind"], row["name"]) == ("compute", "local")]
    return dict(found)


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start executors with the given environment; the data folder is one."""
    started: list[Service] = []

    async def go(**env: str) -> Service:
        port = free_port()
        with (tmp_path / f"log-{len(started)}").open("wb") as log:
            process = programs.start(
                "executor",
                cwd=REPO,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(tmp_path),
                    "GALAKSIO_HOME": str(tmp_path / "home"),
                    "EXECUTOR_PORT": str(port),
                    "EXECUTOR_LEASE_S": "2",
                    "PYTHONUNBUFFERED": "1",
                    "EXECUTOR_POOL": "1",
                    **env,
                },
                stdout=log,
            )
        service = Service(process, port)
        started.append(service)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                await service.client.get("/health")
                return service
            except httpx.TransportError:
                assert process.poll() is None, (tmp_path / "log-0").read_text()
                await asyncio.sleep(0.05)
        raise AssertionError("the service did not start")

    yield go
    for service in started:
        await service.client.aclose()
        service.process.terminate()
        try:
            service.process.wait(20)
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()


@pytest.fixture
async def service(start: Start) -> Service:
    made: Service = await start()
    return made


async def test_a_task_is_done_once_and_its_result_kept(service: Service, start: Start) -> None:
    first = await service.execute("job-1", RANDOM)
    assert first.status_code == 200
    body = first.json()
    assert (body["jobId"], body["status"], body["result"]["exitCode"]) == ("job-1", "completed", 0)
    parallel = await asyncio.gather(*(service.execute("job-2", RANDOM) for _ in range(10)))
    assert len({answer.json()["result"]["stdout"] for answer in parallel}) == 1
    assert (await service.execute("job-1", RANDOM)).json() == body
    conflict = await service.execute("job-1", "print(1)")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "job_id_conflict")
    assert conflict.json()["jobId"] == "job-1"
    other = await start()  # another executor on the same database
    assert (await other.execute("job-1", RANDOM)).json() == body


async def test_code_is_found_in_every_place_and_exit_three_is_completed(service: Service) -> None:
    task = {"taskType": "compute", "provider": "local"}
    inline = base64.b64encode(b"print('inline')").decode()
    for job_id, where, said in [
        ("a", {"code": "print('code')"}, "code\n"),
        ("b", {"meta": {"snippet": "print('meta')"}}, "meta\n"),
        ("c", {"fileInline": inline}, "inline\n"),
    ]:
        answer = await service.post("/execute", {"jobId": job_id, **task, **where})
        assert answer.json()["result"]["stdout"] == said
    bare = await service.post("/execute", {"code": "exit 3", "language": "sh"})
    assert (bare.status_code, bare.json()["status"]) == (200, "completed")
    assert bare.json()["result"]["exitCode"] == 3
    run = await service.post("/run", {"code": "console.log(1)", "language": "js"})
    assert (run.status_code, run.json()["success"]) == (200, True)
    assert run.json()["result"]["language"] == "javascript"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/execute", {}, 400, "invalid_task", "jobId, taskType, and provider are required"),
        ("/execute", {"jobId": "x", "taskType": "run"}, 400, "invalid_task", "are required"),
        (
            "/execute",
            {"jobId": "x", "taskType": "brew", "provider": "local"},
            400,
            "unknown_task_type",
            "compute",
        ),
        ("/execute", {"jobId": "x", "taskType": "run", "provider": "moon"}, 400, "unknown_provider", "local"),
        (
            "/execute",
            {"jobId": "x", "taskType": "run", "provider": "local"},
            400,
            "code_required",
            "code is required",
        ),
        ("/execute", [], 400, "invalid_body", "object"),
        ("/run", {}, 400, "code_required", "code is required"),
        ("/run", {"code": "1", "language": "cobol"}, 400, "unknown_language", "python, javascript, bash"),
        ("/run", {"code": "print(1)\0print(2)"}, 422, "nul_in_code", "NUL"),
        ("/run", {"code": "1", "timeout": 61}, 400, "invalid_request", "timeout"),
        ("/run", {"code": "1", "files": [{"name": "../x"}]}, 400, "invalid_request", "file name"),
    ],
)
async def test_what_is_wrong_is_said(  # noqa: PLR0917
    app_client: httpx.AsyncClient, path: str, body: Any, status: int, code: str, words: str
) -> None:
    answer = await app_client.post(path, json=body)
    found = answer.json()
    assert (answer.status_code, found["code"], found["success"]) == (status, code, False)
    assert words in found["error"]
    assert found["status"] == "failed"
    assert found["jobId"] == (body.get("jobId", "unknown") if isinstance(body, dict) else "unknown")
    assert found["requestId"] and answer.headers["X-Request-ID"] == found["requestId"]


@pytest.fixture
async def app_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The app in this process, for what needs no process of its own."""
    from executor.main import create_app
    from executor.settings import ExecutorSettings
    from shared.settings import load_settings

    settings = load_settings(
        ExecutorSettings,
        {"GALAKSIO_HOME": str(tmp_path / "home"), "EXECUTOR_SLOTS": "1", "EXECUTOR_POOL": "0"},
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as made,
    ):
        yield made


async def test_health_and_providers_tell_what_is_there(app_client: httpx.AsyncClient) -> None:
    health = (await app_client.get("/health")).json()
    assert (health["status"], health["ok"], health["service"]) == ("ok", True, "galaksio-executor")
    assert (await app_client.get("/health/ready")).status_code == 200
    local = await compute_row(app_client)
    assert (local["name"], local["status"], local["sellable"]) == ("local", "available", True)
    assert all(entry["version"] for entry in local["languages"])
    assert (local["slots"], local["isolation"].split("+")[0]) == (1, "bubblewrap")
    assert (await app_client.get("/")).json()["service"] == "galaksio-executor"
    assert (await app_client.get("/docs")).status_code == 200
    assert (await app_client.post("/run", content=b"x" * (11 << 20))).status_code == 413


async def test_a_machine_that_cannot_sandbox_says_so_everywhere(start: Start) -> None:
    service = await start(EXECUTOR_BWRAP="/bin/false")
    assert (await service.client.get("/health")).status_code == 200
    ready = await service.client.get("/health/ready")
    reason = ready.json()["dependencies"]["compute/local"]["reason"]
    assert ready.status_code == 503 and reason
    local = await service.local()
    assert (local["status"], local["sellable"], local["reason"]) == ("unavailable", False, reason)
    for _ in range(2):  # a failure of ours is not kept: the same id is tried again
        answer = await service.execute("a", "print(1)")
        assert (answer.status_code, answer.json()["code"]) == (503, "sandbox_unavailable")
        assert reason in answer.json()["error"]


async def test_sandbox_off_is_marked_and_not_for_sale(start: Start, tmp_path: Path) -> None:
    service = await start(SANDBOX="off")
    local = await service.local()
    assert (local["status"], local["sellable"], local["isolation"]) == ("available", False, "none")
    result = (await service.execute("a", "print(1)")).json()["result"]
    assert (result["isolation"], result["stdout"]) == ("none", "1\n")
    assert "sandbox_off" in (tmp_path / "log-0").read_text()


async def test_beyond_the_queue_callers_are_told_when_to_come_back(start: Start) -> None:
    service = await start(EXECUTOR_SLOTS="1", EXECUTOR_QUEUE="1")
    first = asyncio.create_task(service.post("/run", {"code": "import time; time.sleep(4)"}))
    while (await service.local())["slotsFree"] > 0:
        await asyncio.sleep(0.02)
    later = await asyncio.gather(*(service.post("/run", {"code": "print(1)"}) for _ in range(3)))
    answers = [await first, *later]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["code"] == "executor_busy" and int(refused.headers["Retry-After"]) >= 1


async def test_strangers_need_the_token(start: Start) -> None:
    service = await start(INTERNAL_API_TOKEN="secret")
    assert (await service.post("/run", {"code": "print(1)"})).status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert (await service.post("/run", {"code": "print(1)"}, headers=headers)).status_code == 200
    assert (await service.client.get("/health")).status_code == 200


async def test_a_killed_executor_takes_its_sandboxes_along_and_the_job_is_reported_lost(start: Start) -> None:
    service = await start()
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    code = f"import os, time\nif os.fork() == 0: os.setsid()\nos.execl('/bin/sleep', '{marker}', '300')"
    call = asyncio.create_task(service.execute("lost", code, args=[marker]))
    assert await until(lambda: len(with_marker(marker)) >= 2)  # both processes of the code
    assert await until(lambda: len(service.processes()) >= 8)  # and one sandbox that waits, at least
    processes = service.processes()
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    with pytest.raises(httpx.TransportError):
        await call
    assert await until(lambda: with_marker(marker) == [])
    assert await until(lambda: (reap_adopted(), service.left_of(processes))[1] == [])
    again = await start()
    answer = await again.execute("lost", code, args=[marker])
    assert (answer.status_code, answer.json()["code"]) == (500, "executor_lost")
    assert with_marker(marker) == []
    assert await until(lambda: groups_of(service.process.pid) == [])


async def test_sigterm_gives_running_jobs_their_time_and_leaves_nothing(start: Start) -> None:
    service = await start(EXECUTOR_DRAIN_S="5", EXECUTOR_SLOTS="2")
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    # One ends when we end what it waits for, the other one never.
    waits = f"import subprocess; subprocess.run(['{marker}', '300'], executable='/bin/sleep'); print('done')"
    calls = [
        asyncio.create_task(service.execute("a", waits)),
        asyncio.create_task(service.execute("b", "import time; time.sleep(300)")),
    ]
    while (await service.local())["slotsFree"] > 0:
        await asyncio.sleep(0.02)
    assert await until(lambda: len(with_marker(marker)) == 1)
    assert await until(lambda: len(service.processes()) > 7)
    processes = service.processes()
    began_s = time.monotonic()
    service.process.terminate()
    # Two runs: monitor, init and code each, and what one of them waits for.
    assert await until(lambda: len(service.processes()) <= 7)
    (waited_for,) = with_marker(marker)
    os.kill(waited_for, signal.SIGTERM)
    assert (await calls[0]).json()["result"]["stdout"] == "done\n"
    stopped = await calls[1]
    assert (stopped.status_code, stopped.json()["code"]) == (503, "executor_draining")
    assert 5 <= time.monotonic() - began_s < 60
    assert await asyncio.to_thread(service.process.wait, 30) in (0, -signal.SIGTERM)
    assert service.left_of(processes) == []
    assert groups_of(service.process.pid) == []


@pytest.fixture
def uvicorn_in_folder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)],
        cwd=REPO / "executor",
        env={"PATH": os.environ["PATH"], "GALAKSIO_HOME": str(tmp_path / "home")},
        stderr=subprocess.DEVNULL,
    )
    yield process, port
    process.terminate()
    process.wait(20)


async def test_uvicorn_starts_it_from_inside_the_folder(uvicorn_in_folder: tuple[Any, int]) -> None:
    _, port = uvicorn_in_folder
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        for _ in range(int(READY_S / 0.05)):
            try:
                found = await client.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        assert found.json()["service"] == "galaksio-executor"
