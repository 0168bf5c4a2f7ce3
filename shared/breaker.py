"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried once."""

import math
import random
from collections.abc import Callable
from typing import Literal

from shared.clock import Clock
from shared.quotes import MAX_RETRY_S

FAILURES = 3
"""In a row, until it is left alone."""
PAUSE_S = 30.0
"""The first time; each failed try after it doubles the next one."""
MAX_PAUSE_S = 600.0
JITTER = 0.2
"""Of a pause, up or down, so that many processes do not come back at once."""

Circuit = Literal["closed", "open", "half_open"]


class Breaker:
    """Closed while all is well, open for a pause after `FAILURES` in a row, then half open for one try.

    `resting` makes the exception for who asks meanwhile, from the whole seconds until that is worth it.
    """

    def __init__(self, clock: Clock, resting: Callable[[int], Exception]) -> None:
        self._clock = clock
        self._resting = resting
        self._failures = 0
        self._pause_s = 0.0
        self._opened_at = 0.0
        self._trying = False

    @property
    def circuit(self) -> Circuit:
        if not self._pause_s:
            return "closed"
        return "open" if self.rests_s or self._trying else "half_open"

    @property
    def rests_s(self) -> int:
        """Whole seconds until it may be asked again, or 0. A clock that was set back ends the pause."""
        gone_s = self._clock() - self._opened_at
        return min(math.ceil(self._pause_s - gone_s), MAX_RETRY_S) if 0 <= gone_s < self._pause_s else 0

    def refuse(self) -> None:
        """Raises what `resting` makes while nobody may ask."""
        if self.circuit == "open":
            raise self._resting(self.rests_s or 1)

    def begin(self) -> None:
        """Somebody asks; when the circuit is half open, nobody else may meanwhile. Raises as `refuse`."""
        self.refuse()
        self._trying = self._pause_s > 0

    def undecided(self) -> None:
        """Whoever asked came to nothing that speaks for or against it."""
        self._trying = False

    def succeeded(self) -> None:
        self._failures, self._pause_s, self._trying = 0, 0.0, False

    def failed(self) -> None:
        self._failures += 1
        if self._trying or self._failures == FAILURES:
            longer_s = min(max(self._pause_s * 2, PAUSE_S), MAX_PAUSE_S)
            self._pause_s = longer_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            self._opened_at = self._clock()
            self._trying = False
