"""Asking the facilitator: is this payment good, and did it settle? (payments.md §3, §5)

What cannot be read for certain is `Unknown`, never a failure: money may have moved.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import perf_counter
from typing import Any

from x402.mechanisms.evm import constants as evm
from x402.schemas import SettleResponse, SupportedResponse, VerifyResponse

from broker.payments.records import PaymentRow
from shared.calls import Answer, Caller, NoAnswer
from shared.errors import Unavailable
from shared.logs import get_logger
from shared.networks import DEVNET, Network
from shared.tracing import step

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


@dataclass(frozen=True)
class Supported:
    """What a facilitator settles: the version of x402 and the network, in either spelling.

    `now_s` is its clock in Unix seconds; `devnet`: whether it says that it is the local payment network.
    """

    kinds: list[tuple[int, str]]
    now_s: float | None
    devnet: bool = False


Outcome = Settled | Refused | Unknown


class Settlement:
    """The facilitator's two questions. One HTTP client for the app's lifetime; no redirects.

    (The `x402` package's own client is not used: its models and httpx cost five times the call itself.)
    """

    def __init__(self, url: str, network: Network, timeout_s: float) -> None:
        self._network = network
        self._facilitator = Caller(url, timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES)
        self.took_s: Callable[[float], object] = lambda _: None
        """Told how long each settlement took, in seconds."""

    async def close(self) -> None:
        await self._facilitator.close()

    async def supported(self) -> Supported:
        """What `GET /supported` offers. Raises `NoAnswer`, `ValueError`."""
        answer = await self._facilitator.get("/supported")
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        told = SupportedResponse.model_validate_json(answer.body)
        exact = [kind for kind in told.kinds if kind.scheme == evm.SCHEME_EXACT]
        kinds = [(kind.x402_version, kind.network) for kind in exact]
        return Supported(kinds, _clock_of(answer), devnet=DEVNET in told.extensions)

    async def verify(self, payment: PaymentRow) -> str | None:
        """None when the payment is good, else the facilitator's reason. Raises `Unavailable`."""
        try:
            with step("verify"):
                answer = VerifyResponse.model_validate(await self._ask("/verify", payment))
        except (NoAnswer, ValueError, RecursionError) as exc:
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
        began_s = perf_counter()
        try:
            with step("settle"):
                return await self._settle(payment)
        finally:
            self.took_s(perf_counter() - began_s)

    async def _settle(self, payment: PaymentRow) -> Outcome:
        for attempt in range(1, CONNECT_TRIES + 1):
            try:
                answer = SettleResponse.model_validate(await self._ask("/settle", payment))
            except (NoAnswer, ValueError, RecursionError) as exc:
                if not isinstance(exc, NoAnswer) or exc.sent:
                    log.warning("facilitator_settle_unclear", error=str(exc)[:200])
                    return Unknown("facilitator_gave_no_clear_answer")
                # Nothing left this machine, so asking again cannot pay twice.
                if attempt == CONNECT_TRIES:
                    log.warning("facilitator_unreachable", error=str(exc))
                    return Unknown("facilitator_unreachable")
                await asyncio.sleep(CONNECT_PAUSE_S * attempt)
            else:
                return self._judge(answer, payment)
        raise AssertionError("unreachable")

    async def _ask(self, path: str, payment: PaymentRow) -> Any:
        """The JSON of a 200. Raises `NoAnswer` and, for any other status, `ValueError`."""
        answer = await self._facilitator.post(path, json.dumps(facilitator_question(payment)).encode())
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return json.loads(answer.body)  # laxer than pydantic about half a character in a reason

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


def _clock_of(answer: Answer) -> float | None:
    """Unix seconds by the headers of an answer, which may have been kept on the way; None: nobody knows."""
    try:
        kept_s = int(answer.age or 0)
        return None if answer.date is None else parsedate_to_datetime(answer.date).timestamp() + kept_s
    except (ValueError, OverflowError):
        return None


def _word(reason: str | None, default: str) -> str:
    """A facilitator's reason when it is a code; anything else is only logged. It is shown to clients."""
    if reason is None or _REASON.fullmatch(reason):
        return reason or default
    log.warning("facilitator_reason_not_passed_on", reason=ascii(reason[:200]))
    return default


def _is_transaction_hash(text: str) -> bool:
    digits = text.removeprefix("0x")
    return text.startswith("0x") and len(digits) == 64 and all(c in "0123456789abcdefABCDEF" for c in digits)


def facilitator_question(payment: PaymentRow) -> dict[str, Any]:
    """What both questions are asked with, in the payment's own version (x402 facilitator API)."""
    wanted = {name: value for name, value in payment.requirements.items() if value is not None}
    payload: dict[str, Any] = {"x402Version": payment.x402_version, "payload": payment.payload}
    if payment.x402_version == 1:
        payload |= {"scheme": wanted["scheme"], "network": wanted["network"]}
    else:
        payload |= {"accepted": wanted}
    return {
        "x402Version": payment.x402_version,
        "paymentPayload": payload,
        "paymentRequirements": wanted,
    }
