"""Pick the accounting of this machine: cgroup v1, else v2, else the watchdog."""

from collections.abc import Callable
from typing import Literal

from executor.sandbox.accounting.base import Accountant
from executor.sandbox.accounting.cgroup_v1 import CgroupV1
from executor.sandbox.accounting.cgroup_v2 import CgroupV2
from executor.sandbox.accounting.watchdog import Watchdog
from executor.sandbox.limits import Limits
from shared.logs import get_logger

log = get_logger(__name__)

Choice = Literal["auto", "cgroup-v1", "cgroup-v2", "watchdog"]


def choose_accountant(choice: Choice, limits: Limits, ahead: int) -> Accountant:
    """The accounting `choice` names, or the best that works. `OSError` if the named one does not."""
    if choice == "watchdog":
        return Watchdog(limits)
    kinds: dict[str, Callable[[Limits, int], Accountant]] = {"cgroup-v1": CgroupV1, "cgroup-v2": CgroupV2}
    if choice != "auto":
        return kinds[choice](limits, ahead)
    for name, kind in kinds.items():
        try:
            return kind(limits, ahead)
        except OSError as exc:
            log.info("cgroup_not_usable", version=name, reason=str(exc))
    return Watchdog(limits)
