"""What the facilitator says is judged: settled, refused, or nobody knows."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.schemas import PaymentPayload
from x402.schemas.v1 import PaymentPayloadV1, PaymentRequirementsV1

from broker.payments.authorization import Authorization
from broker.payments.offers import Offer
from broker.payments.records import PaymentRow
from broker.payments.settlement import Refused, Settled, Settlement, Unknown
from broker.payments.terms import Terms
from shared.errors import Unavailable
from shared.networks import Network
from tests.executor.conftest import until
from tests.support.standin import DROPPED, Answer, StandIn

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


class Facilitator(StandIn):
    """Gives its `answers` in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.asked.append((path, json.loads(body or b"{}")))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(scope="module")
def facilitator() -> Iterator[Facilitator]:
    running = Facilitator()
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def settlement(network: Network, facilitator: Facilitator) -> AsyncIterator[Settlement]:
    facilitator.asked.clear()
    settlement = Settlement(facilitator.url, network, timeout_s=20)
    yield settlement
    await settlement.close()


@pytest.fixture
def settle(facilitator: Facilitator, settlement: Settlement, terms: Terms) -> Callable[..., Any]:
    async def settle(answer: Answer | dict[str, Any]) -> Any:
        facilitator.answers = [answer if isinstance(answer, Answer) else Answer.of(answer)]
        return await settlement.settle(payment(terms))

    return settle


async def test_a_success_with_the_right_particulars_is_settled(settle: Callable[..., Any]) -> None:
    for answer in (
        GOOD,
        {**GOOD, "network": "eip155:84532"},
        {**GOOD, "payer": AUTH.payer.upper().replace("0X", "0x")},
        {**GOOD, "amount": "5800"},
    ):
        assert await settle(answer) == Settled(TX.lower())


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
    settle: Callable[..., Any], change: dict[str, str]
) -> None:
    assert isinstance(await settle({**GOOD, **change}), Unknown)


async def test_a_definite_refusal_is_refused_and_a_vague_one_unknown(settle: Callable[..., Any]) -> None:
    refusal = {"success": False, "transaction": "", "network": "base-sepolia"}
    for reason in ("invalid_exact_evm_insufficient_balance", "insufficient_funds"):
        assert await settle({**refusal, "errorReason": reason}) == Refused(reason)
    for reason in (
        "settlement_pending",
        "transaction_failed",
        "unexpected_settle_error",
        "invalid_exact_evm_nonce_already_used",
        "never heard of",
        None,
    ):
        assert isinstance(await settle({**refusal, "errorReason": reason}), Unknown), reason
    broadcast = {**refusal, "errorReason": "insufficient_funds", "transaction": TX}
    assert isinstance(await settle(broadcast), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        DROPPED,
        Answer(500, b"oops"),
        Answer(429, b"slow down"),
        Answer(302, headers=(("Location", "https://elsewhere.test"),)),
        Answer(200, b"<html>"),
        Answer(200, b"[" * 50_000),
        Answer.of([]),
        Answer.of({"success": "perhaps"}),
        Answer.of({**GOOD, "padding": "x" * 70_000}),
    ],
    ids=["dropped", "500", "429", "302", "html", "deep", "list", "perhaps", "large"],
)
async def test_no_readable_answer_is_unknown_and_never_a_refusal(
    settle: Callable[..., Any], facilitator: Facilitator, answer: Answer
) -> None:
    assert isinstance(await settle(answer), Unknown)
    assert len(facilitator.asked) == 1, "what may have been heard is not said twice"


async def test_an_answer_that_takes_too_long_is_unknown_and_not_asked_for_twice(
    network: Network, terms: Terms, facilitator: Facilitator
) -> None:
    facilitator.asked.clear()
    facilitator.answers = [Answer.of(GOOD, delay_s=60)]
    hasty = Settlement(facilitator.url, network, timeout_s=1)
    assert isinstance(await hasty.settle(payment(terms)), Unknown)
    await hasty.close()
    assert await until(lambda: bool(facilitator.asked)), "it was on its way"
    assert len(facilitator.asked) == 1


async def test_only_a_refused_connection_is_tried_again(
    settlement: Settlement, terms: Terms, facilitator: Facilitator
) -> None:
    facilitator.answers = [Answer.of(GOOD)]
    with facilitator.down():
        waiting = asyncio.create_task(settlement.settle(payment(terms)))
        await asyncio.sleep(0.1)
    assert await waiting == Settled(TX.lower())
    with facilitator.down():
        assert isinstance(await settlement.settle(payment(terms)), Unknown)


async def test_verify_tells_good_from_bad_from_no_answer(
    settlement: Settlement, terms: Terms, facilitator: Facilitator
) -> None:
    answers = [
        ({"isValid": True, "payer": AUTH.payer}, None),
        ({"isValid": False, "invalidReason": "insufficient_funds"}, "insufficient_funds"),
        ({"isValid": False}, "invalid_payment"),
        ({"isValid": True, "payer": "0x" + "ee" * 20}, "payer_mismatch"),
    ]
    for answer, expected in answers:
        facilitator.answers = [Answer.of(answer)]
        assert await settlement.verify(payment(terms)) == expected
    for bad in (Answer(503), Answer(200, b"<html>"), Answer(307), DROPPED):
        facilitator.answers = [bad]
        with pytest.raises(Unavailable):
            await settlement.verify(payment(terms))


@pytest.mark.parametrize("version", [1, 2])
async def test_the_facilitator_is_asked_as_the_x402_package_asks_it(
    settlement: Settlement, terms: Terms, facilitator: Facilitator, version: int
) -> None:
    if version == 1:
        row = payment(terms)
        v1 = PaymentRequirementsV1.model_validate(row.requirements)
        theirs: Any = PaymentPayloadV1(scheme=v1.scheme, network=v1.network, payload=row.payload), v1
    else:
        wanted = terms.v2(OFFER)
        row = replace(payment(terms), x402_version=2, requirements=wanted.model_dump(by_alias=True))
        theirs = PaymentPayload(payload=row.payload, accepted=wanted), wanted
    facilitator.answers = [Answer.of(GOOD)]
    await settlement.settle(row)
    package = HTTPFacilitatorClient(FacilitatorConfig(url=facilitator.url))
    await package.settle(*theirs)
    await package.aclose()
    ours, packages = facilitator.asked
    assert ours == packages
