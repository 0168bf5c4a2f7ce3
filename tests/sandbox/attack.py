"""What an attack is, and how its outcome is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executor.sandbox.limits import LIMITS
from shared.errors import GalaksioError
from shared.jobs import RunResult

Verdict = str | None
"""What went wrong in one sentence; None when the sandbox held."""
Expect = Callable[[RunResult], Verdict]
ExpectRefusal = Callable[[GalaksioError], Verdict]

LATEST_END_MS = 9000
SLACK = 1.35
"""A watchdog looks every 20 ms: what is written between two looks comes on top of the limit."""
SERVED = "print('served')"


@dataclass(frozen=True)
class Attack:
    """One thing that a stranger tries.

    `expect` has to find a sign in the result that the attack was really tried: silence is no success.
    `request` is merged into the request. The neighbour starts `warm_up_s` after the attack, which is then
    in full swing. `afterwards` runs when all is over and has to print `served` too.
    """

    name: str
    code: str
    expect: Expect
    language: str = "python"
    timeout_s: float = 30.0
    request: Mapping[str, Any] = field(default_factory=dict)
    refused: ExpectRefusal | None = None
    warm_up_s: float = 0.0
    neighbour: str = SERVED
    afterwards: str | None = None
    kit: bool = True
    """Whether `inside/attack_kit.py` stands before the code (python), and the namespace is noted."""
    only: Callable[[], str | None] = lambda: None
    """Why this machine cannot try it, or None."""


def reports(**expected: str | tuple[str, ...]) -> Expect:
    """Each `attempt` named here was made and ended as it should; several endings may be right."""

    def expect(result: RunResult) -> Verdict:
        said = dict(line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
        for what, right in expected.items():
            endings = (right,) if isinstance(right, str) else right
            if said.get(what) not in endings:
                return f"{what}: {said.get(what)!r} instead of {' or '.join(endings)} ({tail(result)})"
        return None

    return expect


def refused(*names: str) -> Expect:
    """All of these were answered with EPERM."""
    return reports(**dict.fromkeys(names, "EPERM"))


def says(text: str, *never: str) -> Expect:
    """stdout is exactly `text`, and nothing in `never` stands in either output."""

    def expect(result: RunResult) -> Verdict:
        for word in never:
            if word in result.stdout or word in result.stderr:
                return f"it got hold of {word!r}"
        return None if result.stdout == text else f"said {result.stdout[:200]!r} ({tail(result)})"

    return expect


def both(*expectations: Expect) -> Expect:
    """All of them."""
    return lambda result: next((said for expect in expectations if (said := expect(result))), None)


def out_of_memory(result: RunResult) -> Verdict:
    """It had begun, and was ended for its memory before it could say that it had got it all."""
    if "begun" not in result.stdout:
        return f"it never began ({tail(result)})"
    if "survived" in result.stdout or not result.oom_killed:
        return f"its memory was not bounded ({tail(result)})"
    if result.peak_memory_bytes is None or result.peak_memory_bytes > LIMITS.memory_bytes * SLACK:
        return f"it had {result.peak_memory_bytes} bytes ({tail(result)})"
    return None


def timed_out(result: RunResult) -> Verdict:
    """It was ended by the clock, and soon: all such attacks have two seconds at most."""
    if "begun" not in result.stdout:
        return f"it never began ({tail(result)})"
    ended = (result.timed_out, result.signal) == (True, "SIGKILL")
    if not ended or result.execution_time > LATEST_END_MS:
        return f"it was not ended by the clock within {result.execution_time} ms ({tail(result)})"
    return None


def succeeded(result: RunResult) -> Verdict:
    return None if result.exit_code == 0 else f"it did not end well ({tail(result)})"


def tail(result: RunResult) -> str:
    """What a result shows, for a failed test's sentence."""
    return (
        f"exit {result.exit_code}, signal {result.signal}, timed out {result.timed_out}, "
        f"out of memory {result.oom_killed}, stdout {result.stdout[-200:]!r}, stderr {result.stderr[-300:]!r}"
    )
