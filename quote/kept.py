"""An answer of a remote provider, for as long as it is believed."""

import json
import random
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from quote.providers.base import Decline, Failed
from shared.clock import Clock

DECLINED_S = 60.0
"""How long it is believed that a provider does not sell something."""
FAILED_S = 15.0
"""How long nobody waits again for one that failed: less than the shortest pause of its breaker."""
SHORTER = 0.1
"""The part of its life by which one may be forgotten earlier, so that not all are at once."""
LEFT_S = 30.0
"""A price with less of its life left is not told any more: whoever reads it wants to use it."""
DUE = 0.75
"""When that part of the time has passed for which it is told, it is asked for again in the background."""


class Kept(BaseModel):
    """An answer, or why there was none (`refusal`, of a provider that `failed` or does not sell that).

    `due_at`, `told_until` and `until`, all Unix seconds, are when it is asked for again in the background,
    when it is not told any more, and when a price that was told ends.
    """

    model_config = ConfigDict(frozen=True)

    got_at: float
    due_at: float
    told_until: float
    until: float
    answer: dict[str, Any] = {}
    refusal: str | None = None
    failed: bool = False

    @classmethod
    def read(cls, text: bytes | None, now: float, longest_s: float) -> "Kept | None":
        """One that another process kept, which ends by its clock; none that would last longer here."""
        try:
            found = None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None
        return found if found is not None and found.until <= now + longest_s else None

    def dump(self) -> bytes:
        return json.dumps(self.model_dump()).encode()

    def believed(self, now: float) -> bool:
        """A clock that was set back ends it too."""
        return self.got_at <= now < self.told_until

    def due(self, now: float) -> bool:
        return now >= self.due_at

    def told(self) -> dict[str, Any]:
        """The answer. Raises `Decline` or `Failed` when there was none."""
        if self.refusal is None:
            return self.answer
        raise Failed(self.refusal) if self.failed else Decline(self.refusal)


class Keeping:
    """Makes what is kept from now on: prices for `ttl_s`, anything else for a shorter time."""

    def __init__(self, ttl_s: float, clock: Clock) -> None:
        self._ttl_s = ttl_s
        self._clock = clock

    def price(self, answer: dict[str, Any]) -> Kept:
        now, life_s = self._clock(), _about(self._ttl_s)
        told_s = life_s - min(LEFT_S, life_s / 4)
        return Kept(
            got_at=now, due_at=now + told_s * DUE, told_until=now + told_s, until=now + life_s, answer=answer
        )

    def declined(self, reason: str) -> Kept:
        return self._refused(DECLINED_S, reason, failed=False)

    def failed(self, reason: str) -> Kept:
        return self._refused(FAILED_S, reason, failed=True)

    def _refused(self, life_s: float, reason: str, *, failed: bool) -> Kept:
        now = self._clock()
        until = now + _about(min(life_s, self._ttl_s))
        return Kept(got_at=now, due_at=until, told_until=until, until=until, refusal=reason, failed=failed)


def _about(life_s: float) -> float:
    return life_s * random.uniform(1 - SHORTER, 1)  # noqa: S311 - no secret
