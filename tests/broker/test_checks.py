"""What the broker finds out about a payment by itself."""

from dataclasses import replace

import pytest

from broker.payments.authorization import Authorization, Payment
from broker.payments.checks import (
    SETTLE_MARGIN_S,
    PaymentRefused,
    check_addressed_to_us,
    check_window,
)
from broker.payments.eip712 import signed_by_payer
from broker.payments.terms import Terms
from shared.errors import BadRequest
from shared.networks import Network, network_named
from tests.broker.conftest import signed_authorization
from tests.support.wallets import Wallet, new_wallet

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def signed(terms: Terms, wallet: Wallet, **changes: str) -> Authorization:
    network = terms.network
    extra = {"name": network.domain_name, "version": network.domain_version}
    return signed_authorization(wallet.payload(network.asset, terms.pay_to, 5800, extra, **changes))


def payment(terms: Terms, auth: Authorization, **changes: str) -> Payment:
    return replace(Payment(1, "exact", terms.network.name, auth, None), **changes)


def test_a_good_payment_passes(terms: Terms) -> None:
    check_addressed_to_us(payment(terms, signed(terms, new_wallet())), terms)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"scheme": "upto"}, "unsupported_scheme"), ({"network": "base"}, "network_mismatch")],
)
def test_another_scheme_or_network_is_refused(terms: Terms, change: dict[str, str], code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_addressed_to_us(payment(terms, signed(terms, new_wallet()), **change), terms)
    assert caught.value.code == code


def test_money_for_somebody_else_is_refused(terms: Terms) -> None:
    auth = signed(terms, new_wallet(), to="0x" + "99" * 20)
    with pytest.raises(BadRequest) as caught:
        check_addressed_to_us(payment(terms, auth), terms)
    assert caught.value.code == "recipient_mismatch"


@pytest.mark.parametrize("field", ["payer", "pay_to", "value", "valid_after", "valid_before", "nonce"])
def test_a_signature_covers_every_field(terms: Terms, network: Network, field: str) -> None:
    auth = signed(terms, new_wallet())
    assert signed_by_payer(auth, network)
    old = getattr(auth, field)
    new = old + 1 if isinstance(old, int) else old[:-1] + ("0" if old[-1] != "0" else "1")
    assert not signed_by_payer(replace(auth, **{field: new}), network)


def test_a_signature_for_another_network_is_refused(terms: Terms) -> None:
    assert not signed_by_payer(signed(terms, new_wallet()), network_named("base"))


def test_the_second_form_of_a_signature_is_refused(terms: Terms, network: Network) -> None:
    """(r, n-s) with the other v recovers the same key; USDC refuses it, so do we."""
    auth = signed(terms, new_wallet())
    raw = bytes.fromhex(auth.signature[2:])
    twin = raw[:32] + (N - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([55 - raw[64]])
    assert not signed_by_payer(replace(auth, signature="0x" + twin.hex()), network)


def test_a_signature_of_zeros_is_refused_without_an_exception(terms: Terms, network: Network) -> None:
    assert not signed_by_payer(replace(signed(terms, new_wallet()), signature="0x" + "00" * 65), network)


def test_the_window_must_cover_the_job_and_its_settlement(terms: Terms) -> None:
    auth = signed(terms, new_wallet(), validAfter="1000", validBefore="2000")
    limit = 60.0
    check_window(auth, 2000 - limit - SETTLE_MARGIN_S, limit)
    with pytest.raises(PaymentRefused) as caught:
        check_window(auth, 2000 - limit - SETTLE_MARGIN_S + 1, limit)
    assert caught.value.code == "authorization_expires_too_soon"
    with pytest.raises(PaymentRefused) as caught:
        check_window(auth, 999, limit)
    assert caught.value.code == "authorization_not_yet_valid"
