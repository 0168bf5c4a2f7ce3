"""Starting sandboxes with all that the machine at hand needs for it: for a job, or to wait for one."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace

from executor.sandbox.accounting import Accountant
from executor.sandbox.arguments import command
from executor.sandbox.execute import to_the_end
from executor.sandbox.launch import Job, Kit
from executor.sandbox.layer import Layer
from executor.sandbox.limits import LIMITS
from executor.sandbox.loaders import Loader, loader_of
from executor.sandbox.pool import Kind
from executor.sandbox.result import request_files
from executor.sandbox.rlimits import limited, outside, prlimit_program, shell_program, through_env
from executor.sandbox.runs import abandon, call, died_at_gate, start_sandboxed
from executor.sandbox.runtimes import Runtime
from executor.sandbox.sizes import data_bytes, limits_of
from executor.sandbox.started import Started
from executor.sandbox.uids import Uids
from shared.jobs import Language, RunRequest


class Starting:
    """A `pool.Starter`, and the maker of jobs for direct starts."""

    def __init__(
        self,
        kit: Kit,
        accountant: Accountant,
        threads: Executor,
        runtimes: Mapping[Language, Runtime],
        uids: Uids,
    ) -> None:
        self.kit = kit
        self.accountant = accountant
        self._threads = threads
        self.runtimes = runtimes
        self._uids = uids
        self._loaders: dict[Kind, Loader] = {}
        self.limits_outside = True

    def job(self, request: RunRequest, runtime: Runtime, layer: Layer | None) -> Job:
        """A run as a sandbox of its own, with the packages of `layer`."""
        limits = limits_of(request.size)
        words = command(runtime, request.args, limits)
        env = {**request.env, **layer.environment(request.env)} if layer else request.env
        binds = layer.binds if layer else ()
        files = request_files(request, runtime)
        return self.limit(Job(words, files, env, limits, binds=binds, runtime=runtime), runtime)

    def limit(self, job: Job, runtime: Runtime | None) -> Job:
        """`job` with its resource limits: from outside where that works, else by a program inside."""
        if runtime is None:
            raise LookupError("no language can be run here: install python3, nodejs or bash")
        data = data_bytes(runtime, job.limits)
        if self.limits_outside:
            return replace(job, rlimits=outside(data, job.limits))
        if job.loader:
            return replace(job, loader=replace(job.loader, command=self._inside(job.loader.command, data)))
        command = [*through_env(job.env), *job.command]
        return replace(job, command=self._inside(command, data), env={})

    async def start(self, kind: Kind) -> Started:
        """A sandbox that waits for its job. Raises `SandboxFailed`."""
        runtime, limits = self.runtimes[kind.language], limits_of(kind.size)
        if kind not in self._loaders:
            self._loaders[kind] = await call(self._threads, lambda: loader_of(runtime, limits))
        loader = self._loaders[kind]
        waiting = Job([], {runtime.code_name: b""}, {}, limits, loader=loader, runtime=runtime)
        job = self.limit(waiting, runtime)
        started = await self.begin(job)
        started.warms = kind.language == "python"
        return started

    async def begin(self, job: Job, *, held: bool = False) -> Started:
        """Start `job` as a user of its own; `held` at its gate if so. Raises `SandboxFailed`."""
        identity = self._uids.take()
        try:
            running, account = await start_sandboxed(
                self.kit, self.accountant, self._threads, identity, job, held=held
            )
        except BaseException:
            self._uids.give_back(identity)
            raise
        return Started(running, account, identity)

    async def let_go(self, started: Started) -> None:
        """Open the gate of one that was held. Raises `SandboxFailed` when it died there."""
        try:
            started.running.go()  # less than a pipe holds: it never waits
        except OSError as exc:
            await to_the_end(self.retire(started))
            raise died_at_gate(exc) from None

    async def retire(self, started: Started) -> None:
        """End a sandbox that was not used."""
        try:
            await call(self._threads, lambda: abandon(started.running, started.account))
        finally:
            self.done(started)

    def done(self, started: Started) -> None:
        """Give the user to another, if nothing of it is alive any more."""
        if started.running.gone:
            self._uids.give_back(started.identity)

    def _inside(self, words: list[str], data: int) -> list[str]:
        return limited(
            words,
            data,
            LIMITS,
            prlimit=prlimit_program(),
            shell=shell_program(),
            python=self.runtimes.get("python"),
        )
