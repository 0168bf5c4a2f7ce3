"""How long the answers hold that a price is made of, noted on the way from the market to the engine."""

from contextvars import ContextVar


class Horizon:
    """Until when (Unix seconds) the answers hold that were used since `look`."""

    def __init__(self) -> None:
        self.until = float("inf")


_horizon: ContextVar[Horizon | None] = ContextVar("horizon", default=None)


def look() -> Horizon:
    """From here on, in this task and in those that it starts, note what is used."""
    horizon = Horizon()
    _horizon.set(horizon)
    return horizon


def used(until: float) -> None:
    """An answer was used that holds `until` then."""
    horizon = _horizon.get()
    if horizon is not None:
        horizon.until = min(horizon.until, until)
