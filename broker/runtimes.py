"""What the executor can run, for everybody to see before they pay."""

import time
from collections.abc import Callable

from pydantic import Field

from broker.clients import ExecutorClient
from shared.calls import NoAnswer
from shared.errors import Unavailable
from shared.fresh import Fresh
from shared.jobs import Wire
from shared.logs import get_logger

log = get_logger(__name__)

FRESH_S = 5.0
"""How long one answer of the executor is believed."""


class Runtime(Wire):
    """A language: whether it can be run now (else why not), and with packages or without."""

    name: str
    aliases: list[str] = Field(default_factory=list)
    available: bool
    version: str | None = None
    dependencies: bool = False
    reason: str = ""


class RuntimeList(Wire):
    runtimes: list[Runtime]


class Runtimes:
    """A short-lived copy of the executor's `GET /runtimes`; parallel askers share one request."""

    def __init__(self, executor: ExecutorClient, now_s: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self._known = Fresh(self._ask, now_s, FRESH_S)

    async def current(self) -> RuntimeList:
        """Raises `Unavailable` (`executor_unavailable`) when there is no answer, or an odd one."""
        known = await self._known.get()
        if known is None:
            raise Unavailable("the executor does not say what it can run", code="executor_unavailable")
        return known

    async def _ask(self) -> RuntimeList | None:
        try:
            found = RuntimeList.model_validate(await self._executor.runtimes())
        except (NoAnswer, ValueError) as exc:
            log.warning("executor_unreachable", error=type(exc).__name__)
            return None
        for runtime in found.runtimes:
            if runtime.available:
                runtime.reason = ""  # what the host lacks besides is the host's own affair
        return found
