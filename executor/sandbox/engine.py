"""The sandbox of this machine: opened once, asked to run, closed.

It is in one of these states: it sandboxes; it cannot, and says why; `SANDBOX=off` was set by hand; or it is
draining: what runs may end, nothing new begins.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from executor.sandbox import diagnosis
from executor.sandbox.accounting import Accountant
from executor.sandbox.admission import Admission, draining
from executor.sandbox.ahead import Ahead
from executor.sandbox.bench import Bench
from executor.sandbox.capture import OnOutput
from executor.sandbox.errors import JobUnread, RuntimeUnavailable, SandboxUnavailable
from executor.sandbox.execute import to_the_end
from executor.sandbox.handover import fits, hand_over, message
from executor.sandbox.launch import Job, Kit
from executor.sandbox.layer import Layer
from executor.sandbox.machine import Machine, find_machine, try_machine
from executor.sandbox.networks import Networks
from executor.sandbox.options import Options, cores
from executor.sandbox.pool import Kind, Load, Pool
from executor.sandbox.result import request_files, run_result
from executor.sandbox.runs import Feed, Finished, call, finish_sandboxed, run_bare
from executor.sandbox.runtimes import INSTALL, PATH, Runtime
from executor.sandbox.sizes import limits_of, words_of
from executor.sandbox.slots import Slots
from executor.sandbox.started import Started
from executor.sandbox.starting import Starting
from executor.sandbox.streaming import Chunk, stream_of
from executor.sandbox.uids import UID_BASE, Uids
from shared.errors import GalaksioError
from shared.jobs import DEFAULT_SIZE, MEMORY_MB, Language, RunRequest, RunResult
from shared.logs import get_logger

__all__ = ["UID_BASE", "Options", "Sandbox", "State"]

log = get_logger(__name__)

RETRY_AFTER_S = 60
State = Literal["closed", "available", "unavailable", "off", "draining"]


class Sandbox:
    """`open`, then `run` or `stream` from any number of tasks, then `close`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.slots = Slots(options.slot_count, options.queue, options.max_wait_s, options.memory_budget_mb)
        self._admission = Admission(self.slots)
        self.state: State = "closed"
        self.reason = "the sandbox was not opened yet"
        self.pool: Pool | None = None
        self._machine = Machine({})
        self._starting: Starting | None = None
        self._uids = Uids(options.uid_base, drop=not options.off)
        # Sandboxes that are started ahead; for each slot a thread that starts and ends the run and one that
        # watches it; and some to spare.
        self._at_once = 2 * cores()
        self._room = asyncio.Semaphore(self._at_once)
        threads = 2 * options.slot_count + self._at_once + 2
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sandbox")

    @property
    def runtimes(self) -> dict[Language, Runtime]:
        return dict(self._machine.runtimes)

    @property
    def networks(self) -> Networks | None:
        """What runs to come are born in; None where bubblewrap makes a network for each."""
        return self._machine.kit.networks if self._machine.kit else None

    @property
    def isolation(self) -> str:
        """What results carry: `bubblewrap+<accounting>`, or `none`."""
        if self._machine.accountant is None or self.options.off:
            return "none"
        return f"bubblewrap+{self._machine.accountant.name}"

    @property
    def ready(self) -> dict[str, int]:
        """How many sandboxes wait for a run, by language."""
        return {} if self.pool is None else self.pool.ready

    @property
    def accepting(self) -> bool:
        """Whether a run of the usual size that came now would not be refused."""
        works = self.state in ("available", "off") and bool(self._machine.runtimes)
        return works and self.slots.accepts(MEMORY_MB[DEFAULT_SIZE])

    @property
    def retry_after_s(self) -> int | None:
        """When to ask again; None while we accept."""
        if self.accepting:
            return None
        return self.slots.retry_after_s if self.state in ("available", "off") else RETRY_AFTER_S

    async def open(self) -> None:
        """Find everything and try it. What the machine lacks is no error: `state` and `reason` tell it."""
        try:
            self._machine = await call(self._pool, lambda: find_machine(self.options, self._uids))
            if not self.options.off:
                await self._open()
        except (GalaksioError, OSError, LookupError) as exc:
            said = str(exc.args[0] if isinstance(exc, LookupError) else exc)
            self.state, self.reason = "unavailable", diagnosis.diagnose(said)
            log.error("sandbox_unavailable", reason=self.reason)
            return
        if self.options.off:
            self.state, self.reason = "off", "SANDBOX=off was set by hand: code runs bare, it is not sold"
            log.warning("sandbox_off", reason=self.reason)
            return
        self.state, self.reason = "available", ""
        log.info("sandbox_ready", isolation=self.isolation, slots=self.slots.count, pool=self.options.pool)

    async def _open(self) -> None:
        kit, accountant = self._ready()
        self._starting = Starting(kit, accountant, self._pool, self._machine.runtimes, self._uids)
        await try_machine(self._starting, self._pool, self._uids)
        if self.options.pool:
            self.pool = Pool(
                self._starting, self.options.pool, self.options.recycle_s, self._at_once, self._load
            )
            # TypeScript is asked for less: it waits like the others once it was.
            self.pool.open(language for language in self._machine.runtimes if language != "typescript")

    async def drain(self, grace_s: float | None = None) -> None:
        """Begin nothing new, end what only waits, give what runs `grace_s` (None: as the options say)."""
        self.state, self.reason = "draining", "the executor is being stopped"
        grace_s = self.options.drain_s if grace_s is None else grace_s
        # At once: while the pool is being ended nobody may get a slot, and the grace has begun.
        await asyncio.gather(self._admission.end(grace_s), *([self.pool.close()] if self.pool else []))

    async def close(self) -> None:
        """Stop the threads, whose end would take a sandbox with it, and give back what was prepared."""
        await self.drain(0)
        self.state, self.reason = "closed", "the executor is shutting down"
        await asyncio.to_thread(self._pool.shutdown)
        if self._machine.accountant is not None:
            await asyncio.to_thread(self._machine.accountant.shutdown)
        if self.networks is not None:
            self.networks.close()
        if self._machine.program is not None:
            self._machine.program.remove_copy()

    def check(self, language: Language) -> Runtime:
        """The runtime of `language`. Raises `SandboxUnavailable` or `RuntimeUnavailable` (both 503)."""
        if self.state == "draining":
            raise draining()
        if self.state not in ("available", "off"):
            raise self._unavailable()
        runtime = self._machine.runtimes.get(language)
        if runtime is None:
            raise RuntimeUnavailable(
                f"There is no {language} on this machine: {INSTALL[language]}.", retry_after_s=RETRY_AFTER_S
            )
        return runtime

    def bench(self) -> Bench | None:
        """What packages are built with; None where nothing is sandboxed or there is no Python."""
        python, kit = self.runtimes.get("python"), self._machine.kit
        if self.state != "available" or kit is None or python is None:
            return None
        builder = self._uids.at(-1)  # the uid before those of the runs
        return Bench(kit.bwrap, kit.seccomp, python, builder, self._uids.at(0))

    async def run(
        self, request: RunRequest, on_output: OnOutput | None = None, *, layer: Layer | None = None
    ) -> RunResult:
        """Run a snippet, alone, with the packages of `layer` if given. Raises what `errors.py` lists.

        `on_output` is told nothing, of stdout, when the run begins, and then its output as it comes.
        """
        runtime = self.check(request.language)
        ahead = self._ahead(request, runtime, layer)
        try:
            waits = ahead.begin if ahead else None
            async with self._admission.admitted(MEMORY_MB[request.size], waits) as slot:
                if on_output:
                    on_output("stdout", b"")
                stdin = request.stdin.encode()
                feed = Feed(stdin, request.timeout_s, request.encoding, on_output, slot.code_ended)
                finished = await (
                    self._sandboxed(request, runtime, feed, layer, ahead)
                    if ahead
                    else self._bare(request, runtime, feed)
                )
        finally:
            if ahead:
                await ahead.drop()
        return run_result(finished, runtime, self.isolation, request.encoding)

    def stream(self, request: RunRequest) -> AsyncGenerator[Chunk | RunResult, None]:
        """The output of a run as it comes, then its result. To leave early (`aclose`) cancels the run."""
        return stream_of(lambda on_output: self.run(request, on_output))

    async def _bare(self, request: RunRequest, runtime: Runtime, feed: Feed) -> Finished:
        arguments = words_of(runtime, limits_of(request.size))[1:]
        words = [runtime.host_path, *arguments, runtime.code_name, *request.args]
        env = {"PATH": PATH, "LANG": "C.UTF-8", **request.env}
        return await run_bare(self._pool, Job(words, request_files(request, runtime), env), feed)

    def _ahead(self, request: RunRequest, runtime: Runtime, layer: Layer | None) -> Ahead | None:
        """What to do while the run waits; None without a sandbox."""
        starting = self._starting
        if starting is None:
            return None

        def begin() -> Awaitable[Started]:
            return starting.begin(starting.job(request, runtime, layer), held=True)

        return Ahead(self._room, begin, starting.let_go, starting.retire)

    async def _sandboxed(
        self, request: RunRequest, runtime: Runtime, feed: Feed, layer: Layer | None, ahead: Ahead
    ) -> Finished:
        if self._starting is None:
            raise self._unavailable()
        started = await ahead.take()
        if started is None and not layer:
            started = await self._from_pool(request, runtime)
        try:
            if started is not None:
                with contextlib.suppress(JobUnread):
                    return await self._finished(started, feed)
                log.warning("pooled_sandbox_failed", language=request.language)
            started = await self._starting.begin(self._starting.job(request, runtime, layer))
            return await self._finished(started, feed)
        finally:
            if self.pool is not None:
                self.pool.refill()

    async def _finished(self, started: Started, feed: Feed) -> Finished:
        """Drive it to its end. Raises what `finish_sandboxed` does."""
        if self._starting is None:
            raise self._unavailable()
        try:
            interval_s = self._starting.accountant.interval_s
            return await finish_sandboxed(started.running, started.account, interval_s, self._pool, feed)
        finally:
            self._starting.done(started)

    async def _from_pool(self, request: RunRequest, runtime: Runtime) -> Started | None:
        """A sandbox that waited and now runs the request; None when the request needs a start of its own."""
        if self.pool is None or self._starting is None or not fits(request):
            return None
        started = await self.pool.take(Kind(request.language, request.size))
        if started is None:
            return None
        files, job = request_files(request, runtime), message(request.args, request.env)
        try:
            await to_the_end(call(self._pool, lambda: hand_over(started, files, job)))
        except OSError as exc:  # it died in this moment
            log.warning("handover_failed", language=request.language, reason=str(exc))
            await to_the_end(self._starting.retire(started))
            return None
        except asyncio.CancelledError:
            await to_the_end(self._starting.retire(started))
            raise
        return started

    def _load(self) -> Load:
        if self.slots.waiting:
            return Load.FULL
        return Load.SOME if self.slots.free < self.slots.count else Load.NONE

    def _ready(self) -> tuple[Kit, Accountant]:
        if self._machine.kit is None or self._machine.accountant is None:
            raise self._unavailable()
        return self._machine.kit, self._machine.accountant

    def _unavailable(self) -> SandboxUnavailable:
        return SandboxUnavailable(f"Code cannot be run here: {self.reason}.", retry_after_s=RETRY_AFTER_S)
