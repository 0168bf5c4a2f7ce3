"""From a body to an answer: find the provider, run once, keep."""

import json
from typing import Any

from executor.once import Once
from executor.providers.base import ProviderStatus, Registry, RunsCode, RuntimeInfo
from executor.tasks import Ask, parse_task
from shared.errors import GalaksioError
from shared.logs import get_logger

log = get_logger(__name__)


class Jobs:
    """All the work of this service."""

    def __init__(self, registry: Registry, once: Once) -> None:
        self.registry = registry
        self._once = once

    async def do(self, body: Any, *, direct: bool) -> dict[str, Any]:
        """The answer to a task: `{jobId, status: "completed", success: true, result}`.

        A result is kept under a job id that the caller chose; one that we make up is not asked for again.
        Raises `GalaksioError` for a malformed task and for failures of ours. Code that fails is completed.
        """
        ask = parse_task(body, self.registry, direct=direct)
        job_id = ask.task.job_id
        if ask.keep:
            result = await self._once.run(job_id, ask.fingerprint, lambda: self._execute(ask))
        else:
            result = await self._execute(ask)
        return {"jobId": job_id, "status": "completed", "success": True, "result": json.loads(result)}

    def statuses(self) -> list[ProviderStatus]:
        return [provider.status() for _, provider in sorted(self.registry.providers.items())]

    def runtimes(self) -> list[RuntimeInfo]:
        """Every language of every provider that runs code, available or not."""
        providers = (provider for _, provider in sorted(self.registry.providers.items()))
        return [row for one in providers if isinstance(one, RunsCode) for row in one.runtimes()]

    async def _execute(self, ask: Ask) -> str:
        task = ask.task
        try:
            result = await self.registry.providers[task.kind, task.provider].execute(task)
        except GalaksioError as error:
            log.warning("job_failed", job_id=task.job_id, code=error.code, reason=error.message)
            raise
        return result.model_dump_json()
