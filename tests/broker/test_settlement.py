"""What the facilitator says is judged: settled, refused, or nobody knows."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from broker.payments.authorization import Authorization
from broker.payments.offers import Offer
from broker.payments.records import PaymentRow
from broker.payments.settlement import Refused, Settled, Settlement, Unknown
from broker.payments.terms import Terms
from shared.errors import Unavailable
from shared.networks import Network

URL = "https://facilitator.test"
TX = "0x" + "Ab" * 32
AUTH = Authorization(
    "0x" + "aa" * 20, "0x" + "bb" * 20, 5800, 0, 1_800_000_250, "0x" + "cc" * 32, "0x" + "dd" * 65
)
OFFER = Offer("offer", "hash", 5800, "local", {}, 270, 0, 0)
GOOD = {"success": True, "transaction": TX, "network": "base-sepolia", "payer": AUTH.payer}


def payment(terms: Terms) -> PaymentRow:
    wanted = terms.v1(OFFER, "http://broker.test/run", "run").model_dump(by_alias=True)
    return PaymentRow(
        id="payment",
        job_id="job",
        request_hash="hash",
        offer_id="offer",
        state="settling",
        settle="after",
        owner="me",
        attempts=0,
        payer=AUTH.payer,
        nonce=AUTH.nonce,
        amount_atomic=AUTH.value,
        valid_before=AUTH.valid_before,
        x402_version=1,
        payload=AUTH.payload(),
        requirements=wanted,
        transaction_hash=None,
        reason=None,
        created_at=0,
    )


@pytest.fixture
async def settlement(network: Network) -> AsyncIterator[Settlement]:
    settlement = Settlement(URL, network, timeout_s=2)
    yield settlement
    await settlement.close()


async def settle(settlement: Settlement, terms: Terms, answer: Any) -> Any:
    with respx.mock:
        route = respx.post(f"{URL}/settle")
        if isinstance(answer, Exception):
            route.mock(side_effect=answer)
        else:
            route.mock(return_value=answer)
        return await settlement.settle(payment(terms))


async def test_a_success_with_the_right_particulars_is_settled(settlement: Settlement, terms: Terms) -> None:
    for answer in (
        GOOD,
        {**GOOD, "network": "eip155:84532"},
        {**GOOD, "payer": AUTH.payer.upper().replace("0X", "0x")},
        {**GOOD, "amount": "5800"},
    ):
        assert await settle(settlement, terms, httpx.Response(200, json=answer)) == Settled(TX.lower())


@pytest.mark.parametrize(
    "change",
    [
        {"transaction": ""},
        {"transaction": "0x12"},
        {"network": "base"},
        {"payer": "0x" + "ee" * 20},
        {"amount": "1"},
    ],
)
async def test_a_success_that_cannot_be_believed_is_unknown(
    settlement: Settlement, terms: Terms, change: dict[str, str]
) -> None:
    assert isinstance(await settle(settlement, terms, httpx.Response(200, json={**GOOD, **change})), Unknown)


async def test_a_definite_refusal_is_refused_and_a_vague_one_unknown(
    settlement: Settlement, terms: Terms
) -> None:
    refusal = {"success": False, "transaction": "", "network": "base-sepolia"}
    for reason in ("invalid_exact_evm_insufficient_balance", "insufficient_funds"):
        answer = httpx.Response(200, json={**refusal, "errorReason": reason})
        assert await settle(settlement, terms, answer) == Refused(reason)
    for reason in (
        "settlement_pending",
        "transaction_failed",
        "unexpected_settle_error",
        "invalid_exact_evm_nonce_already_used",
        "never heard of",
        None,
    ):
        answer = httpx.Response(200, json={**refusal, "errorReason": reason})
        assert isinstance(await settle(settlement, terms, answer), Unknown), reason
    broadcast = {**refusal, "errorReason": "insufficient_funds", "transaction": TX}
    assert isinstance(await settle(settlement, terms, httpx.Response(200, json=broadcast)), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(500, text="oops"),
        httpx.Response(429, text="slow down"),
        httpx.Response(302, headers={"Location": "https://elsewhere.test"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"success": "perhaps"}),
    ],
)
async def test_no_readable_answer_is_unknown_and_never_a_refusal(
    settlement: Settlement, terms: Terms, answer: Any
) -> None:
    assert isinstance(await settle(settlement, terms, answer), Unknown)


async def test_only_a_refused_connection_is_tried_again(settlement: Settlement, terms: Terms) -> None:
    with respx.mock:
        route = respx.post(f"{URL}/settle").mock(
            side_effect=[httpx.ConnectError("refused"), httpx.Response(200, json=GOOD)]
        )
        outcome = await settlement.settle(payment(terms))
        assert (outcome, route.call_count) == (Settled(TX.lower()), 2)
    with respx.mock:
        route = respx.post(f"{URL}/settle").mock(side_effect=httpx.ReadTimeout("slow"))
        await settlement.settle(payment(terms))
        assert route.call_count == 1


async def test_verify_tells_good_from_bad_from_no_answer(settlement: Settlement, terms: Terms) -> None:
    answers = [
        ({"isValid": True, "payer": AUTH.payer}, None),
        ({"isValid": False, "invalidReason": "insufficient_funds"}, "insufficient_funds"),
        ({"isValid": False}, "invalid_payment"),
        ({"isValid": True, "payer": "0x" + "ee" * 20}, "payer_mismatch"),
    ]
    for answer, expected in answers:
        with respx.mock:
            respx.post(f"{URL}/verify").mock(return_value=httpx.Response(200, json=answer))
            assert await settlement.verify(payment(terms)) == expected
    for bad in (httpx.Response(503), httpx.Response(200, text="<html>"), httpx.Response(307)):
        with respx.mock:
            respx.post(f"{URL}/verify").mock(return_value=bad)
            with pytest.raises(Unavailable):
                await settlement.verify(payment(terms))
