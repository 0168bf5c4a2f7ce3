"""What the providers share whose work other people do: whether they can be paid, and reading what they say.

Their text is never passed on but for the fields that providers.md lists, each of a limited length.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from executor.providers.base import Context, ProviderStatus, Task
from executor.upstream.base import Answer, Order, Receipt, Spending
from executor.upstream.errors import (
    UpstreamError,
    UpstreamOff,
    UpstreamOverBudget,
    UpstreamRefused,
    UpstreamResting,
)
from shared.breaker import Breaker
from shared.clock import Clock, system_clock
from shared.errors import GalaksioError
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.strict_json import strict_json

log = get_logger(__name__)

SPENT_RETRY_S = 60
"""When to ask again after everything that may be spent was spent: caps are for a day, and end at any time."""
KEEPS_FAILING = "it kept failing at what it was asked for, so nothing is paid to it for a while"
MAX_TEXT = 2000
"""Characters of one documented field that is passed on."""


class NotOffered(GalaksioError):
    """This provider does not do that; another one may, so it is no fault of the request."""

    status = 501
    code = "not_offered_by_provider"


class Remote:
    """A provider that is asked over `Upstream`. A subclass says its `kind` and does the work."""

    kind = ""

    def __init__(
        self, context: Context, name: str, *, sends_files: bool = False, clock: Clock = system_clock
    ) -> None:
        self.name = name
        self._breaker = Breaker(clock, self._resting)
        self._context = context
        self._upstream = context.upstream
        self._chosen = name in context.settings.remote_providers
        self._sends_files = sends_files

    async def open(self) -> None:
        """Nothing to open: nobody is asked before there is work."""

    async def close(self) -> None:
        """Nothing to close."""

    def status(self) -> ProviderStatus:
        """`disabled` where it is not wanted or cannot be paid.

        Not `accepting` when all money is spent, or for a while after it did not do what it was paid for.
        """
        if reason := self._off():
            return ProviderStatus(name=self.name, kind=self.kind, status="disabled", reason=reason)
        means = self._upstream.means()
        reason, retry_after_s = "", None
        if means.spendable_atomic <= 0:
            reason, retry_after_s = "all that may be spent on other providers now is spent", SPENT_RETRY_S
        elif self._breaker.circuit == "open":
            reason, retry_after_s = KEEPS_FAILING, self._breaker.rests_s or 1
        return ProviderStatus(
            name=self.name,
            kind=self.kind,
            status="available",
            reason=reason,
            accepting=not reason,
            retry_after_s=retry_after_s,
            networks=means.networks,
            spendable_atomic=means.spendable_atomic,
        )

    def _off(self) -> str:
        """Why it is off, empty when it is not."""
        if not self._chosen:
            return f"REMOTE_PROVIDERS is without {self.name}"
        means = self._upstream.means()
        if means.reason is None and self._sends_files and not means.sends_files:
            return "no files can be sent in the way that it would be paid"
        return means.reason or ""

    def _check_on(self) -> None:
        """Raises `UpstreamOff`."""
        if reason := self._off():
            raise UpstreamOff(f"{self.name} is off here: {reason}.")

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Around what is bought and what is made of the answer: who keeps failing is not paid for a while."""
        try:
            yield
        except (UpstreamOff, UpstreamOverBudget, UpstreamResting):
            self._breaker.undecided()
            raise
        except UpstreamError:
            self._breaker.failed()
            log.warning("upstream_failed", provider=self.name, circuit=self._breaker.circuit)
            raise
        except BaseException:
            self._breaker.undecided()
            raise
        self._breaker.succeeded()

    async def _buy(self, task: Task, order: Order) -> Answer:
        """The answer to an order that is sold, with status 200 or 201.

        Raises `UpstreamRefused` for any other, and what `Upstream.send` does.
        """
        spending = Spending(task.job_id, self.name, task.max_spend_atomic, self._breaker.begin)
        answer = await self._upstream.send(order, spending)
        if answer.status not in (200, 201):
            raise self._refused(f"answered {answer.status}")
        return answer

    def _object(self, body: bytes) -> dict[str, Any]:
        """The JSON object of an answer. Raises `UpstreamRefused`, also for one that says it did not work."""
        try:
            said = strict_json(body)
        except ValueError:
            raise self._refused("answered with something that is not JSON") from None
        if not isinstance(said, dict):
            raise self._refused("answered with something that is not a JSON object")
        if said.get("success") is False:
            raise self._refused("says that it did not do the work")
        return said

    def _resting(self, retry_after_s: int) -> UpstreamError:
        text = f"{self.name}: {KEEPS_FAILING}; it is tried again in {retry_after_s} s."
        return UpstreamResting(text, retry_after_s=retry_after_s)

    def _refused(self, what: str) -> UpstreamRefused:
        return UpstreamRefused(f"{self.name} {what}, and not with the work.")


def text_of(said: dict[str, Any], *names: str) -> str | None:
    """The first of these fields that is a text of a length that can be passed on."""
    for name in names:
        value = said.get(name)
        if isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
            return value
    return None


def paid(receipt: Receipt | None, **more: Any) -> dict[str, Any] | None:
    """What a result says under `upstream`; None when nothing was paid and there is nothing more to say.

    What is None of `more` is left out.
    """
    extras = {name: value for name, value in more.items() if value is not None}
    if receipt is None:
        return (
            {"paidUsd": "0", "transaction": None, "network": None, "payTo": None, **extras}
            if extras
            else None
        )
    return {
        "paidUsd": atomic_to_usd(receipt.amount_atomic),
        "transaction": receipt.transaction,
        "network": receipt.network,
        "payTo": receipt.pay_to,
        **extras,
    }
