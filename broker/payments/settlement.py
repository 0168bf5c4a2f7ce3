"""Asking the facilitator: is this payment good, and did it settle? (payments.md §3, §5)

What cannot be read for certain is `Unknown`, never a failure: money may have moved.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.mechanisms.evm import constants as evm
from x402.schemas import PaymentPayload, PaymentRequirements, SettleResponse
from x402.schemas.v1 import PaymentPayloadV1, PaymentRequirementsV1

from broker.payments.records import PaymentRow
from shared.errors import Unavailable
from shared.logs import get_logger
from shared.networks import Network

log = get_logger(__name__)

CONNECT_TRIES = 3
CONNECT_PAUSE_S = 0.3
MAX_ANSWER_BYTES = 64 * 1024
_REASON = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)

# Reasons after which the token has certainly not moved and cannot move by this authorization now.
# Everything else a facilitator says (a lost receipt, a used nonce, its own error) is unknown.
REFUSALS = frozenset(
    {
        "insufficient_funds",
        evm.ERR_INSUFFICIENT_BALANCE,
        evm.ERR_INVALID_SIGNATURE,
        evm.ERR_VALID_BEFORE_EXPIRED,
        evm.ERR_VALID_AFTER_FUTURE,
        evm.ERR_RECIPIENT_MISMATCH,
        evm.ERR_AUTHORIZATION_VALUE_MISMATCH,
        evm.ERR_NETWORK_MISMATCH,
        evm.ERR_UNSUPPORTED_SCHEME,
    }
)


@dataclass(frozen=True)
class Settled:
    transaction_hash: str


@dataclass(frozen=True)
class Refused:
    reason: str


@dataclass(frozen=True)
class Unknown:
    reason: str


Outcome = Settled | Refused | Unknown


class Settlement:
    """The facilitator's two questions. One HTTP client for the app's lifetime; no redirects."""

    def __init__(self, url: str, network: Network, timeout_s: float) -> None:
        self._network = network
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=3.0),
            limits=httpx.Limits(max_connections=100),
            follow_redirects=False,
            trust_env=False,
            event_hooks={"response": [_bound]},
        )
        self._url = url
        self._client = HTTPFacilitatorClient(FacilitatorConfig(url=url, http_client=self._http))

    async def close(self) -> None:
        await self._http.aclose()

    async def reachable(self) -> bool:
        """Whether `GET /supported` offers our scheme and network (used by `/health/ready`)."""
        answer = await self._http.get(f"{self._url}/supported")
        answer.raise_for_status()
        return any(self._network.matches(str(kind.get("network"))) for kind in answer.json()["kinds"])

    async def verify(self, payment: PaymentRow) -> str | None:
        """None when the payment is good, else the facilitator's reason. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.verify(*_wire(payment))
        except (httpx.HTTPError, ValueError, TimeoutError) as exc:
            log.warning("facilitator_verify_failed", error=type(exc).__name__)
            raise Unavailable(
                "the payment facilitator does not answer; nothing was charged", code="facilitator_unavailable"
            ) from None
        if not answer.is_valid:
            return _word(answer.invalid_reason, "invalid_payment")
        if answer.payer is not None and answer.payer.lower() != payment.payer:
            return "payer_mismatch"
        return None

    async def settle(self, payment: PaymentRow) -> Outcome:
        """Have the transfer made. Never raises for what the facilitator does or fails to do."""
        for attempt in range(1, CONNECT_TRIES + 1):
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._client.settle(*_wire(payment))
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                # Nothing left this machine, so asking again cannot pay twice.
                if attempt == CONNECT_TRIES:
                    log.warning("facilitator_unreachable", error=type(exc).__name__)
                    return Unknown("facilitator_unreachable")
                await asyncio.sleep(CONNECT_PAUSE_S * attempt)
            except (httpx.HTTPError, ValueError, TimeoutError) as exc:
                log.warning("facilitator_settle_unclear", error=type(exc).__name__)
                return Unknown("facilitator_gave_no_clear_answer")
            else:
                return self._judge(answer, payment)
        raise AssertionError("unreachable")

    def _judge(self, answer: SettleResponse, payment: PaymentRow) -> Outcome:
        if not answer.success:
            reason = _word(answer.error_reason, "settlement_failed")
            return Refused(reason) if reason in REFUSALS and not answer.transaction else Unknown(reason)
        wrong = [
            name
            for name, good in (
                ("transaction", _is_transaction_hash(answer.transaction)),
                ("network", self._network.matches(answer.network)),
                ("payer", answer.payer is None or answer.payer.lower() == payment.payer),
                ("amount", answer.amount in {None, "", str(payment.amount_atomic)}),
            )
            if not good
        ]
        if wrong:
            log.error("facilitator_success_not_believed", wrong=wrong)
            return Unknown("facilitator_success_not_believed")
        return Settled(answer.transaction.lower())


def _word(reason: str | None, default: str) -> str:
    """A facilitator's reason when it is a code; anything else is only logged. It is shown to clients."""
    if reason is None or _REASON.fullmatch(reason):
        return reason or default
    log.warning("facilitator_reason_not_passed_on", reason=ascii(reason[:200]))
    return default


async def _bound(response: httpx.Response) -> None:
    """No answer of a facilitator is read beyond `MAX_ANSWER_BYTES`."""
    response.stream = _Bounded(response.stream)


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise httpx.RemoteProtocolError("the answer is too large")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _is_transaction_hash(text: str) -> bool:
    digits = text.removeprefix("0x")
    return text.startswith("0x") and len(digits) == 64 and all(c in "0123456789abcdefABCDEF" for c in digits)


def _wire(payment: PaymentRow) -> tuple[Any, Any]:
    """What the facilitator is asked with: the payload and the requirements, in the payment's own version."""
    if payment.x402_version == 1:
        v1 = PaymentRequirementsV1.model_validate(payment.requirements)
        return PaymentPayloadV1(scheme=v1.scheme, network=v1.network, payload=payment.payload), v1
    v2 = PaymentRequirements.model_validate(payment.requirements)
    return PaymentPayload(payload=payment.payload, accepted=v2), v2
