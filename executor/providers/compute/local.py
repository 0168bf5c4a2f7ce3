"""Runs code on this machine, in the sandbox."""

from typing import cast

from executor.providers.base import LanguageInfo, ProviderStatus, Task
from executor.sandbox.capture import OnOutput
from executor.sandbox.engine import Sandbox
from executor.settings import ExecutorSettings
from shared.jobs import RunRequest, RunResult


class Local:
    """Provider `local`: one fresh sandbox for every run."""

    name = "local"
    kind = "compute"

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def open(self) -> None:
        await self._sandbox.open()

    async def close(self) -> None:
        await self._sandbox.close()

    def status(self) -> ProviderStatus:
        """`unavailable` also when the sandbox works but there is no language to run in it."""
        sandbox = self._sandbox
        works = sandbox.state in ("available", "off") and bool(sandbox.runtimes)
        languages = [
            LanguageInfo(name=name, version=runtime.version)
            for name, runtime in sorted(sandbox.runtimes.items())
            if works
        ]
        return ProviderStatus(
            name=self.name,
            kind=self.kind,
            status="available" if works else "unavailable",
            reason=sandbox.reason or ("" if works else "no language is installed"),
            sellable=sandbox.state == "available" and works,
            languages=languages,
            isolation=sandbox.isolation,
            slots=sandbox.slots.count,
            slots_free=sandbox.slots.free,
            waiting=sandbox.slots.waiting,
            accepting=sandbox.accepting,
            retry_after_s=sandbox.retry_after_s,
        )

    async def drain(self) -> None:
        await self._sandbox.drain()

    async def execute(self, task: Task) -> RunResult:
        return await self._sandbox.run(cast(RunRequest, task.request))

    async def execute_streaming(self, task: Task, on_output: OnOutput) -> RunResult:
        return await self._sandbox.run(cast(RunRequest, task.request), on_output)


def provider(settings: ExecutorSettings) -> Local:
    return Local(Sandbox(settings.sandbox_options))
