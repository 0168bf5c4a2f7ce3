"""A sandbox with all that belongs to it: its account, its user, whether it can be warmed."""

from dataclasses import dataclass

from executor.sandbox.accounting import Account
from executor.sandbox.launched import Launched
from executor.sandbox.runtimes import Identity


@dataclass(eq=False)
class Started:
    """`warms`: its loader imports ahead when it is told to; `warm`: it was told."""

    running: Launched
    account: Account
    identity: Identity
    warms: bool = False
    warm: bool = False
