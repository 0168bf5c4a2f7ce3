"""Runs code on this machine, in the sandbox."""

from executor.dependencies.layers import Layers
from executor.providers.base import Context, LanguageInfo, ProviderStatus, RuntimeInfo, Task
from executor.providers.compute.base import with_code
from executor.sandbox.capture import OnOutput
from executor.sandbox.engine import Sandbox
from executor.sandbox.runtimes import INSTALL
from executor.storage.storage import Storage
from shared.jobs import LANGUAGE_ALIASES, LANGUAGES, Language, RunResult


class Local:
    """Provider `local`: one fresh sandbox for every run."""

    name = "local"
    kind = "compute"

    def __init__(self, sandbox: Sandbox, layers: Layers, storage: Storage) -> None:
        self._sandbox = sandbox
        self._layers = layers
        self._storage = storage

    async def open(self) -> None:
        await self._sandbox.open()
        await self._layers.open(self._sandbox.bench())

    async def close(self) -> None:
        await self._layers.close()
        await self._sandbox.close()

    def status(self) -> ProviderStatus:
        """`unavailable` also when the sandbox works but there is no language to run in it."""
        sandbox = self._sandbox
        works = sandbox.state in ("available", "off") and bool(sandbox.runtimes)
        languages = [
            LanguageInfo(name=name, version=runtime.version, dependencies=self._takes_dependencies(name))
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
            ready=sandbox.ready,
            memory_mb=sandbox.slots.memory_mb,
            accepting=sandbox.accepting,
            retry_after_s=sandbox.retry_after_s,
        )

    async def drain(self) -> None:
        await self._sandbox.drain()

    def runtimes(self) -> list[RuntimeInfo]:
        return [self._runtime(language) for language in LANGUAGES]

    async def execute(self, task: Task) -> RunResult:
        return await self._run(task)

    async def _run(self, task: Task, on_output: OnOutput | None = None) -> RunResult:
        request = await with_code(self._storage, task)
        if not request.dependencies:
            return await self._sandbox.run(request, on_output)
        self._sandbox.check(request.language)
        async with self._layers.layer(request.dependencies) as layer:
            result = await self._sandbox.run(request, on_output, layer=layer)
        return result.model_copy(update={"dependencies": list(layer.resolved)})

    def _takes_dependencies(self, language: Language) -> bool:
        return language == "python" and self._layers.available

    def _runtime(self, language: Language) -> RuntimeInfo:
        """`reason` is that of the sandbox when nothing can be run at all."""
        sandbox = self._sandbox
        runtime = sandbox.runtimes.get(language)
        works = sandbox.state in ("available", "off")
        takes = self._takes_dependencies(language)
        lacks = f"dependencies: {self._layers.reason}" if language == "python" and not takes else ""
        return RuntimeInfo(
            name=language,
            aliases=sorted(alias for alias, name in LANGUAGE_ALIASES.items() if name == language),
            provider=self.name,
            available=works and runtime is not None,
            version=runtime.version if runtime else None,
            source=runtime.source if runtime else None,
            dependencies=takes,
            reason=(lacks if runtime else INSTALL[language]) if works else sandbox.reason,
        )

    async def execute_streaming(self, task: Task, on_output: OnOutput) -> RunResult:
        return await self._run(task, on_output)


def provider(context: Context) -> Local:
    settings = context.settings
    return Local(Sandbox(settings.sandbox_options), Layers(settings.layer_options), context.storage)
