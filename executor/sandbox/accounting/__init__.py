"""Who counts what a run uses, and stops it: a cgroup where one is writable, else a watchdog."""

from executor.sandbox.accounting.base import Account, Accountant, Admitted, Usage
from executor.sandbox.accounting.choose import choose_accountant

__all__ = ["Account", "Accountant", "Admitted", "Usage", "choose_accountant"]
