"""Do the work of a job id once, however often and however parallel it is asked for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from executor.results import Claim, Results
from shared.errors import Conflict, GalaksioError, JobUndone, Unavailable
from shared.logs import get_logger

log = get_logger(__name__)

ASK_AGAIN_S = 0.2
WAIT_S = 120.0
"""How long to wait for another executor's work on the same job id."""
SWEEP_EVERY_S = 60.0

Work = Callable[[], Awaitable[str]]


class ExecutorLost(GalaksioError):
    code = "executor_lost"
    retryable = True


class Once:
    """Runs `work` (which returns JSON) under a claim in `results`."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._running: dict[str, tuple[str, asyncio.Task[str]]] = {}
        self._chores: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self._results.open()
        beat_s = self._results.bounds.lease_s / 3
        self._chores = [
            asyncio.create_task(every(beat_s, self._beat), name="lease"),
            asyncio.create_task(every(SWEEP_EVERY_S, self._sweep), name="sweep"),
        ]

    async def close(self) -> None:
        """Stop what still runs (its claims are given back) and close the table."""
        tasks: list[asyncio.Task[str] | asyncio.Task[None]] = [task for _, task in self._running.values()]
        for task in [*tasks, *self._chores]:
            task.cancel()
        await asyncio.gather(*tasks, *self._chores, return_exceptions=True)
        await self._results.close()

    async def run(self, job_id: str, fingerprint: str, work: Work) -> str:
        """The result of `job_id`. The work goes on when a caller leaves; the next one gets its result.

        Raises `Conflict` (`job_id_conflict`) when the id stands for other work, `ExecutorLost` when the
        executor that did the work died, `JobUndone`, and whatever `work` raises.
        """
        if job_id in self._running:
            known, task = self._running[job_id]
            if known != fingerprint:
                raise _conflict(job_id)
        else:
            task = asyncio.create_task(self._claimed(job_id, fingerprint, work))
            self._running[job_id] = (fingerprint, task)
            task.add_done_callback(lambda done: self._forget(job_id, done))
        return await asyncio.shield(task)

    async def undo(self, job_id: str) -> None:
        """From now on the job has no result and is not run. One that runs at this moment ends as undone."""
        await self._results.undo(job_id)

    def _forget(self, job_id: str, done: asyncio.Task[str]) -> None:
        del self._running[job_id]
        if not done.cancelled():
            done.exception()  # the callers have it; none of them may be left

    async def _claimed(self, job_id: str, fingerprint: str, work: Work) -> str:
        deadline_s = asyncio.get_running_loop().time() + WAIT_S
        while True:
            try:
                claim = await self._results.claim(job_id, fingerprint)
            except SQLAlchemyError as exc:
                log.error("results_unavailable", error=str(exc))
                raise Unavailable(
                    "The store of results does not answer.", code="results_unavailable"
                ) from None
            if isinstance(claim, str):
                return claim
            if claim is Claim.WON:
                return await self._work(job_id, work)
            if claim is Claim.CONFLICT:
                raise _conflict(job_id)
            if claim is Claim.UNDONE:
                raise JobUndone
            if claim is Claim.LOST:
                raise ExecutorLost(
                    "The executor that ran this job died; what it did is not known. "
                    "The same jobId sent once more runs it again."
                )
            if asyncio.get_running_loop().time() > deadline_s:
                raise Unavailable("Another executor still works on this jobId.", code="executor_busy")
            await asyncio.sleep(ASK_AGAIN_S)

    async def _work(self, job_id: str, work: Work) -> str:
        try:
            result = await work()
        except BaseException:
            with contextlib.suppress(SQLAlchemyError):
                await asyncio.shield(self._results.release(job_id))
            raise
        try:
            if not await self._results.keep(job_id, result) and await self._results.is_undone(job_id):
                raise JobUndone
        except SQLAlchemyError as exc:
            log.error("result_not_kept", job_id=job_id, error=str(exc))
        return result

    async def _beat(self) -> None:
        if self._running:
            await self._results.extend()

    async def _sweep(self) -> None:
        await self._results.sweep()


async def every(interval_s: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Do `chore` now and again, for as long as nobody cancels it; the database may be away."""
    while True:
        try:
            await chore()
        except SQLAlchemyError as exc:
            log.error("chore_failed", error=str(exc))
        await asyncio.sleep(interval_s)


def _conflict(job_id: str) -> Conflict:
    return Conflict(f"jobId {job_id} already stands for a different task.", code="job_id_conflict")
