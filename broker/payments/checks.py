"""What can be known about a payment without asking anybody; cheap checks first (payments.md §3)."""

from broker.payments.authorization import Authorization, Payment
from broker.payments.eip712 import signed_by_payer
from broker.payments.terms import SCHEME, Terms
from shared.errors import BadRequest

SETTLE_MARGIN_S = 30
"""How long after the longest run the authorization must still be valid, so that it can be settled."""


class PaymentRefused(Exception):
    """The payment cannot be taken and a new one is the right next step: answered with a fresh 402."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def check_addressed_to_us(payment: Payment, terms: Terms) -> None:
    """Scheme, network and recipient are ours and the signature is the payer's. Raises `BadRequest`."""
    auth = payment.authorization
    if payment.scheme != SCHEME:
        raise BadRequest(f"payment header: scheme must be {SCHEME}", code="unsupported_scheme")
    expected = terms.network.name if payment.version == 1 else terms.network.caip2
    if payment.network != expected:
        raise BadRequest(f"payment header: network must be {expected}", code="network_mismatch")
    if auth.pay_to != terms.pay_to.lower():
        raise BadRequest("payment header: `to` is not the payTo of the offer", code="recipient_mismatch")
    if not signed_by_payer(auth, terms.network):
        raise BadRequest("payment header: the signature is not the payer's", code="invalid_signature")


def check_window(auth: Authorization, now_s: float, time_limit_s: float) -> None:
    """The authorization is valid from now until the job can be settled. Raises `PaymentRefused`."""
    if auth.valid_after > now_s:
        raise PaymentRefused("the authorization is not valid yet", "authorization_not_yet_valid")
    if auth.valid_before < now_s + time_limit_s + SETTLE_MARGIN_S:
        raise PaymentRefused(
            "the authorization expires before the job could be settled: sign with validBefore = "
            "now + maxTimeoutSeconds",
            "authorization_expires_too_soon",
        )
