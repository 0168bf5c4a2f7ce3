"""What is measured of each provider: how it answered lately, and what it last wanted."""

import statistics
from collections import deque
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from shared.clock import Clock, iso
from shared.quotes import Kind, LastError, PriceSample

WINDOW = 20
"""Of its last answers."""


class Probes(BaseModel):
    """A provider's last answers, oldest first: milliseconds, or null for one that failed."""

    answers_ms: deque[int | None] = Field(default_factory=lambda: deque(maxlen=WINDOW), max_length=WINDOW)
    last_error: LastError | None = None
    last_asked: str | None = None

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None before the first."""
        if not self.answers_ms:
            return None
        return round(sum(ms is not None for ms in self.answers_ms) / len(self.answers_ms), 3)

    @property
    def typical_ms(self) -> int | None:
        """The median of those that came."""
        came = [ms for ms in self.answers_ms if ms is not None]
        return round(statistics.median(came)) if came else None


class _Saved(BaseModel):
    probes: dict[str, Probes]
    samples: dict[str, PriceSample]


class Measures:
    """Of all providers, in memory: `dump` and `load` carry them over a restart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._probes: dict[str, Probes] = {}
        self._samples: dict[str, PriceSample] = {}

    def asked(self, provider: str, answer_ms: int | None, error: str | None = None) -> None:
        """One probe ended: after `answer_ms`, or with an `error` (a text of ours)."""
        at = iso(self._clock())
        probes = self._probes.setdefault(provider, Probes())
        probes.answers_ms = deque([*probes.answers_ms, answer_ms], maxlen=WINDOW)
        probes.last_asked = at
        if error is not None:
            probes.last_error = LastError(text=error, at=at)

    def priced(self, kind: Kind, provider: str, price_usd: str, of: dict[str, Any]) -> None:
        self._samples[f"{kind}/{provider}"] = PriceSample(price_usd=price_usd, at=iso(self._clock()), of=of)

    def probes(self, provider: str) -> Probes:
        return self._probes.get(provider) or Probes()

    def sample(self, kind: Kind, provider: str) -> PriceSample | None:
        return self._samples.get(f"{kind}/{provider}")

    def dump(self) -> bytes:
        return _Saved(probes=self._probes, samples=self._samples).model_dump_json().encode()

    def load(self, saved: bytes) -> None:
        """What was dumped, under what was measured since; anything else is no matter."""
        try:
            found = _Saved.model_validate_json(saved)
        except ValidationError:
            return
        self._probes = {**found.probes, **self._probes}
        self._samples = {**found.samples, **self._samples}
