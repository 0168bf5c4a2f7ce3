"""What this machine offers: runtimes, bwrap, accounting; and the test that they hold together."""

import ctypes
import sys
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from executor.sandbox import diagnosis, selftest
from executor.sandbox.accounting import Accountant, choose_accountant
from executor.sandbox.arguments import etc_files
from executor.sandbox.errors import RlimitsRefused, SandboxFailed
from executor.sandbox.execute import Ending
from executor.sandbox.filters import load_filter
from executor.sandbox.launch import Job, Kit
from executor.sandbox.limits import LIMITS
from executor.sandbox.networks import open_networks
from executor.sandbox.options import Options, cores
from executor.sandbox.orphans import kill_orphans
from executor.sandbox.program import Program, find_bwrap, reachable
from executor.sandbox.runs import Feed, run_sandboxed
from executor.sandbox.runtimes import Runtime, find_runtimes
from executor.sandbox.starting import Starting
from executor.sandbox.uids import Uids
from shared.jobs import Language
from shared.logs import get_logger

log = get_logger(__name__)

PR_SET_CHILD_SUBREAPER = 36
SELFTEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Machine:
    """What was found. Without a sandbox (`SANDBOX=off`) only the runtimes."""

    runtimes: Mapping[Language, Runtime]
    program: Program | None = None
    kit: Kit | None = None
    accountant: Accountant | None = None


def find_machine(options: Options, uids: Uids) -> Machine:
    """What is found without starting a sandbox. Blocks. `LookupError` or `OSError` says what is missing."""
    if sys.platform != "linux":
        raise LookupError(diagnosis.NOT_LINUX)
    identity = uids.at(0)
    runtimes = find_runtimes(identity, options.runtimes)
    if options.off:
        return Machine(runtimes)
    found = find_bwrap(options.bwrap)
    if found is None:
        raise LookupError(diagnosis.NO_BWRAP)
    program = reachable(found, identity)
    if left := kill_orphans():
        log.warning("orphaned_sandboxes_ended", count=len(left))
    # The inits of killed sandboxes fall to us (trap 2).
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    accountant = choose_accountant(options.accounting, LIMITS, options.slot_count + 1)
    kit = Kit(
        program.path,
        load_filter(strict=accountant.strict_filter),
        tuple(runtimes.values()),
        etc_files(),
        open_networks(2 * options.slot_count + 2 * cores()) if identity.dropped else None,
    )
    return Machine(runtimes, program, kit, accountant)


async def try_machine(starting: Starting, threads: Executor, uids: Uids) -> None:
    """The self-test: a real sandbox that looks around. Raises `SandboxFailed` with what is wrong."""
    try:
        ending = await _probe(starting, threads, uids)
    except RlimitsRefused as exc:
        log.info("resource_limits_set_inside", reason=exc.message)
        starting.limits_outside = False
        ending = await _probe(starting, threads, uids)
    if ending.killed or ending.exit_code != 0:
        said = ending.stderr[-300:].decode("utf-8", "replace").strip() or "it said nothing"
        raise SandboxFailed(f"the self-test did not end well ({said})")
    if flaw := selftest.flaw(ending.stdout.decode("utf-8", "replace"), LIMITS.processes):
        raise SandboxFailed(f"the sandbox does not hold: {flaw}")


async def _probe(starting: Starting, threads: Executor, uids: Uids) -> Ending:
    runtimes = starting.runtimes
    python = runtimes.get("python")
    probe = selftest.probe_command(python.path if python else None)
    job = starting.limit(Job(probe, {}, {}), next(iter(runtimes.values()), None))
    feed = Feed(b"", SELFTEST_TIMEOUT_S)
    kit, accountant = starting.kit, starting.accountant
    finished = await run_sandboxed(kit, accountant, threads, identity=uids.at(0), job=job, feed=feed)
    return finished.ending
