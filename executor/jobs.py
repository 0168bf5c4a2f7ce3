"""From a body to an answer: find the provider, run once, keep."""

import json
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any, cast

from pydantic import BaseModel

from executor.figures import DONE, FAILED, REFUSED, Figures
from executor.measures import Measures, Outcome, is_failure_of_provider
from executor.once import Once
from executor.providers.base import (
    Provider,
    ProviderStatus,
    Registry,
    RunsCode,
    RuntimeInfo,
    Streams,
    Task,
    Undoes,
)
from executor.sandbox.capture import OnOutput
from executor.sandbox.outputs import Encoding
from executor.sandbox.streaming import Chunk, Texts, stream_of
from executor.tasks import Ask, parse_task, parse_undo
from shared.errors import GalaksioError
from shared.logs import get_logger, set_job_id
from shared.tracing import step

log = get_logger(__name__)


class Jobs:
    """All the work of this service."""

    def __init__(self, registry: Registry, once: Once, measures: Measures, figures: Figures) -> None:
        self.registry = registry
        self._once = once
        self._measures = measures
        self._figures = figures

    async def do(self, body: Any, *, direct: bool) -> dict[str, Any]:
        """The answer to a task: `{jobId, status: "completed", success: true, result}`.

        A result is kept under a job id that the caller chose; one that we make up is not asked for again.
        Raises `GalaksioError` for a malformed task and for failures of ours. Code that fails is completed.
        """
        ask = parse_task(body, self.registry, direct=direct)
        set_job_id(ask.task.job_id)
        return _answer(ask, await self._do(ask, None))

    async def stream(self, body: Any) -> AsyncGenerator[dict[str, Any], None]:
        """`{stream, data}` for output as it comes, then the answer that `do` gives.

        The first item comes when the work begins; its `data` may be empty. A result that was kept, or that
        another caller waits for already, comes without its output before it. Raises as `do` does. A caller
        that leaves ends a run whose job id is not its own.
        """
        ask = parse_task(body, self.registry, direct=True)
        set_job_id(ask.task.job_id)
        texts = Texts(cast(Encoding, getattr(ask.task.request, "encoding", "utf-8")))
        async for event in stream_of(lambda on_output: self._do(ask, on_output)):
            if isinstance(event, Chunk):
                yield {"stream": event.stream, "data": texts.of(event)}
            else:
                yield _answer(ask, event)

    async def undo(self, body: Any) -> dict[str, Any]:
        """Take a job back, `{jobId, taskType, provider}`, run or not: `{jobId, status: "undone"}`.

        Its result is gone and it is not run again (409 `job_undone`); a provider that `Undoes` removes what
        it left behind. Idempotent.
        """
        job_id, provider = parse_undo(body, self.registry)
        set_job_id(job_id)
        # The job id first: work that ends in between finds no claim to keep its result under.
        await self._once.undo(job_id)
        if isinstance(provider, Undoes):
            await provider.undo(job_id)
        return {"jobId": job_id, "status": "undone", "success": True}

    def statuses(self) -> list[ProviderStatus]:
        """Every provider's, with how it did lately."""
        return [
            provider.status().model_copy(update=asdict(self._measures.of(whose)))
            for whose, provider in sorted(self.registry.providers.items())
        ]

    def runtimes(self) -> list[RuntimeInfo]:
        """Every language of every provider that runs code, available or not."""
        providers = (provider for _, provider in sorted(self.registry.providers.items()))
        return [row for one in providers if isinstance(one, RunsCode) for row in one.runtimes()]

    async def _do(self, ask: Ask, on_output: OnOutput | None) -> str:
        if ask.keep:
            return await self._once.run(
                ask.task.job_id, ask.fingerprint, lambda: self._execute(ask, on_output)
            )
        return await self._execute(ask, on_output)

    async def _execute(self, ask: Ask, on_output: OnOutput | None) -> str:
        task, began_s = ask.task, time.monotonic()
        whose = (task.kind, task.provider)
        try:
            with step("work"):
                result = await _work(self.registry.providers[whose], task, on_output)
        except Exception as error:
            if isinstance(error, GalaksioError):
                log.warning("job_failed", job_id=task.job_id, code=error.code, reason=error.message)
            if is_failure_of_provider(error):
                self._measures.note(whose, Outcome(False, _since_ms(began_s)))
            outcome = FAILED if is_failure_of_provider(error) else REFUSED
            self._figures.ended(task, outcome, time.monotonic() - began_s)
            raise
        self._measures.note(whose, Outcome(True, _since_ms(began_s)))
        self._figures.ended(task, DONE, time.monotonic() - began_s, result)
        return result.model_dump_json()


async def _work(provider: Provider, task: Task, on_output: OnOutput | None) -> BaseModel:
    if on_output and isinstance(provider, Streams):
        return await provider.execute_streaming(task, on_output)
    return await provider.execute(task)


def _since_ms(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)


def _answer(ask: Ask, result: str) -> dict[str, Any]:
    return {
        "jobId": ask.task.job_id,
        "status": "completed",
        "success": True,
        "result": json.loads(result),
    }
