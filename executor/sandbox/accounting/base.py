"""The one interface of all accounting."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from executor.sandbox.limits import LIMITS


@dataclass(frozen=True)
class Admitted:
    """A sandbox that is set up and waits at its gate: its init in our pid namespace, its own `/proc`."""

    init_pid: int
    proc_fd: int


@dataclass(frozen=True)
class Usage:
    """What a run used. None where nobody counted; `counted` by the kernel, not seen now and then."""

    cpu_ms: int | None
    peak_memory_bytes: int | None
    oom_killed: bool
    counted: bool = False
    cpu_before_ms: int = 0
    """CPU that the sandbox had used when its run began; not in `cpu_ms`."""


class Account(Protocol):
    """The account of one run. Blocking calls, all from worker threads, never two at a time."""

    def joined(self) -> AbstractContextManager[None]:
        """A sandbox that this thread starts meanwhile is on the account from its birth, where that works."""

    def admit(self, admitted: Admitted) -> None:
        """Put the waiting sandbox under the limits. `OSError` when that cannot be done."""

    def begin(self) -> None:
        """A sandbox that waited gets its job: what it used before is not on the bill."""

    def over(self) -> bool:
        """Whether the run has to be killed for its memory. Called every `Accountant.interval_s`."""

    def close(self) -> Usage:
        """The bill. Called once, when nothing of the run is alive (or it never started)."""


class Accountant(Protocol):
    """Opens accounts. `strict_filter`: its runs need the filter that denies uncounted memory."""

    name: str
    strict_filter: bool
    interval_s: float

    def open(self, memory_bytes: int = LIMITS.memory_bytes) -> Account:
        """The account of a run that may use `memory_bytes`."""

    def shutdown(self) -> None:
        """Give back what was prepared; all accounts are closed."""
