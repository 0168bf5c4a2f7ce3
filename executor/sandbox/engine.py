"""The sandbox of this machine: opened once, asked to run, closed.

It is in one of three states: it sandboxes; it cannot, and says why; or `SANDBOX=off` was set by hand.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from executor.sandbox import diagnosis, selftest
from executor.sandbox.accounting import Accountant, choose_accountant
from executor.sandbox.accounting.choose import Choice
from executor.sandbox.arguments import command
from executor.sandbox.errors import RuntimeUnavailable, SandboxFailed, SandboxUnavailable
from executor.sandbox.filters import load_filter
from executor.sandbox.launch import Job, Kit
from executor.sandbox.limits import LIMITS
from executor.sandbox.orphans import kill_orphans
from executor.sandbox.program import Program, find_bwrap, reachable
from executor.sandbox.result import request_files, run_result
from executor.sandbox.rlimits import limited, prlimit_program, shell_program
from executor.sandbox.runs import Feed, run_bare, run_sandboxed
from executor.sandbox.runtimes import INSTALL, PATH, Identity, Runtime, find_runtimes
from executor.sandbox.slots import Slots
from shared.errors import GalaksioError
from shared.jobs import Language, RunRequest, RunResult
from shared.logs import get_logger

log = get_logger(__name__)

UID_BASE = 60_600
"""Slots run as this uid and the following: systemd's table of uids leaves 60578..61183 unused."""
PR_SET_CHILD_SUBREAPER = 36
SELFTEST_TIMEOUT_S = 10.0
State = Literal["closed", "available", "unavailable", "off"]


@dataclass(frozen=True)
class Options:
    """How to sandbox. `slots` 0 means one for each core."""

    off: bool = False
    bwrap: Path | None = None
    accounting: Choice = "auto"
    slots: int = 0
    queue: int = 16
    max_wait_s: float = 10.0
    uid_base: int = UID_BASE
    runtimes: Mapping[Language, Path | None] = field(default_factory=dict)

    @property
    def slot_count(self) -> int:
        return self.slots or len(os.sched_getaffinity(0))


class Sandbox:
    """`open`, then `run` from any number of tasks, then `close`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.slots = Slots(options.slot_count, options.queue, options.max_wait_s)
        self.state: State = "closed"
        self.reason = "the sandbox was not opened yet"
        self.runtimes: dict[Language, Runtime] = {}
        self._accountant: Accountant | None = None
        self._program: Program | None = None
        self._kit: Kit | None = None
        # For each slot a thread that starts and ends the run and one that watches it, and some to spare.
        self._pool = ThreadPoolExecutor(2 * options.slot_count + 2, thread_name_prefix="sandbox")

    @property
    def isolation(self) -> str:
        """What results carry: `bubblewrap+<accounting>`, or `none`."""
        if self._accountant is None or self.state == "off":
            return "none"
        return f"bubblewrap+{self._accountant.name}"

    async def open(self) -> None:
        """Find everything and try it. What the machine lacks is no error: `state` and `reason` tell it."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._find)
            if not self.options.off:
                await self._try()
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
        log.info("sandbox_ready", isolation=self.isolation, slots=self.slots.count)

    async def close(self) -> None:
        """Stop the threads, whose end would take a sandbox with it, and give back what was prepared."""
        self.state, self.reason = "closed", "the executor is shutting down"
        await asyncio.to_thread(self._pool.shutdown)
        if self._accountant is not None:
            await asyncio.to_thread(self._accountant.shutdown)
        if self._program is not None:
            self._program.remove_copy()

    def check(self, language: Language) -> Runtime:
        """The runtime of `language`. Raises `SandboxUnavailable` or `RuntimeUnavailable` (both 503)."""
        if self.state not in ("available", "off"):
            raise SandboxUnavailable(f"Code cannot be run here: {self.reason}.", retry_after_s=60)
        runtime = self.runtimes.get(language)
        if runtime is None:
            raise RuntimeUnavailable(
                f"There is no {language} on this machine: {INSTALL[language]}.", retry_after_s=60
            )
        return runtime

    async def run(self, request: RunRequest) -> RunResult:
        """Run a snippet, alone. Raises what `errors.py` lists."""
        runtime = self.check(request.language)
        files = request_files(request, runtime)
        feed = Feed(request.stdin.encode(), request.timeout_s, request.encoding)
        async with self.slots.slot() as number:
            if self.state == "off":
                words = [runtime.path, *runtime.arguments, runtime.code_name, *request.args]
                env = {"PATH": PATH, "LANG": "C.UTF-8", **request.env}
                finished = await run_bare(self._pool, Job(words, files), env, feed)
            else:
                words = command(runtime, request.args, request.env)
                job = Job(self._limited(words, runtime), files)
                kit, accountant = self._ready()
                finished = await run_sandboxed(
                    kit, accountant, self._pool, identity=self._identity(number), job=job, feed=feed
                )
        return run_result(finished, runtime, self.isolation, request.encoding)

    def _find(self) -> None:
        """What can be found without starting a sandbox. Blocks."""
        if sys.platform != "linux":
            raise LookupError(diagnosis.NOT_LINUX)
        identity = self._identity(0)
        self.runtimes = find_runtimes(identity, self.options.runtimes)
        if self.options.off:
            return
        found = find_bwrap(self.options.bwrap)
        if found is None:
            raise LookupError(diagnosis.NO_BWRAP)
        self._program = reachable(found, identity)
        if left := kill_orphans():
            log.warning("orphaned_sandboxes_ended", count=len(left))
        # The inits of killed sandboxes fall to us (trap 2).
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._accountant = choose_accountant(self.options.accounting, LIMITS, self.slots.count + 1)
        self._kit = Kit(
            self._program.path,
            load_filter(strict=self._accountant.strict_filter),
            tuple(self.runtimes.values()),
        )

    async def _try(self) -> None:
        """The self-test: a real sandbox that looks around. Raises `SandboxFailed` with what is wrong."""
        kit, accountant = self._ready()
        python = self.runtimes.get("python")
        probe = selftest.probe_command(python.path if python else None)
        job = Job(self._limited(probe, next(iter(self.runtimes.values()), None)), {})
        feed = Feed(b"", SELFTEST_TIMEOUT_S)
        ending = (
            await run_sandboxed(kit, accountant, self._pool, identity=self._identity(0), job=job, feed=feed)
        ).ending
        if ending.killed or ending.exit_code != 0:
            said = ending.stderr[-300:].decode("utf-8", "replace").strip() or "it said nothing"
            raise SandboxFailed(f"the self-test did not end well ({said})")
        if flaw := selftest.flaw(ending.stdout.decode("utf-8", "replace"), LIMITS.processes):
            raise SandboxFailed(f"the sandbox does not hold: {flaw}")

    def _limited(self, words: list[str], runtime: Runtime | None) -> list[str]:
        if runtime is None:
            raise LookupError("no language can be run here: install python3, nodejs or bash")
        return limited(
            words,
            runtime.data_bytes,
            LIMITS,
            prlimit=prlimit_program(),
            shell=shell_program(),
            python=self.runtimes.get("python"),
        )

    def _identity(self, slot: int) -> Identity:
        if os.geteuid() != 0:
            return Identity(os.getuid(), os.getgid(), dropped=False)
        uid = self.options.uid_base + slot
        return Identity(uid, uid, dropped=not self.options.off)

    def _ready(self) -> tuple[Kit, Accountant]:
        if self._kit is None or self._accountant is None:
            raise SandboxUnavailable(f"Code cannot be run here: {self.reason}.", retry_after_s=60)
        return self._kit, self._accountant
