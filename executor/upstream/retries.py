"""When a request is sent again: where nothing was paid and nothing done, or with the same payment."""

from collections.abc import Awaitable, Callable

import httpx
from tenacity import AsyncRetrying, RetryCallState, wait_exponential_jitter

from executor.upstream.errors import UpstreamLost, UpstreamUnreachable

MOST_UNPAID = 3
MOST_PAID = 3
"""How often one call sends a payment: once, and twice more."""
MAX_WAIT_S = 5.0
BUSY = frozenset({429, 502, 503, 504})
BROKEN = frozenset({502, 503, 504})
_backoff = wait_exponential_jitter(multiplier=0.2, max=2.0, jitter=0.2)


async def send_again(
    once: Callable[[], Awaitable[httpx.Response]], *, repeatable: bool, paid_sends: Callable[[], int]
) -> httpx.Response:
    """What the last call of `once` gave. `paid_sends` tells how often a payment went out in it so far.

    Unpaid: again when the provider was not reached or is too busy, or if `repeatable` the connection broke.
    Paid: again when the connection broke or a gateway was in the way.
    """

    def stop(state: RetryCallState) -> bool:
        paid = paid_sends()
        return paid >= MOST_PAID if paid else state.attempt_number >= MOST_UNPAID

    def retry(state: RetryCallState) -> bool:
        if state.outcome is None:
            return False
        if error := state.outcome.exception():
            broke = isinstance(error, UpstreamLost) and (repeatable or paid_sends() > 0)
            return broke or isinstance(error, UpstreamUnreachable)
        response: httpx.Response = state.outcome.result()
        return response.status_code in (BROKEN if paid_sends() else BUSY) and _asked_s(response) <= MAX_WAIT_S

    async def attempt() -> httpx.Response:
        return await once()  # a lambda is taken for a function that does not wait

    retrying = AsyncRetrying(stop=stop, retry=retry, wait=_wait, retry_error_callback=_last)
    return await retrying(attempt)


def _wait(state: RetryCallState) -> float:
    failed = state.outcome is None or state.outcome.failed
    asked_s = 0.0 if failed or state.outcome is None else _asked_s(state.outcome.result())
    return max(asked_s, _backoff(state))


def _last(state: RetryCallState) -> httpx.Response:
    if state.outcome is None:
        raise RuntimeError("nothing was tried")
    response: httpx.Response = state.outcome.result()
    return response


def _asked_s(response: httpx.Response) -> float:
    """How long the provider wants to be left alone."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0
