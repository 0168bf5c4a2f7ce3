"""Things to do a little later, each at most once at a time."""

import asyncio
import time
from collections.abc import Callable

Call = Callable[[], None]


class Timers:
    """Used on the event loop only."""

    def __init__(self) -> None:
        self._due: dict[Call, tuple[float, asyncio.Handle]] = {}
        self._closed = False

    def later(self, delay_s: float, call: Call) -> None:
        """Call `call` in `delay_s`, or when it was to be called before that."""
        when_s = time.monotonic() + delay_s
        if known := self._due.get(call):
            if known[0] <= when_s:
                return
            known[1].cancel()
        if not self._closed:
            handle = asyncio.get_running_loop().call_later(delay_s, self._fire, call)
            self._due[call] = (when_s, handle)

    def close(self) -> None:
        self._closed = True
        for _, handle in self._due.values():
            handle.cancel()
        self._due.clear()

    def _fire(self, call: Call) -> None:
        del self._due[call]
        call()
