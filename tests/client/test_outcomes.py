"""Once it is paid: the same payment again until the outcome is known, and never to anybody else."""

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from galaksio import (
    BadAnswer,
    Client,
    Error,
    OutcomeUnknown,
    PaymentRefused,
    Price,
    RefundOwed,
    RequestRefused,
    TermsRefused,
    Unreachable,
    connection,
    paying,
)
from tests.client.broker import (
    DONE,
    IDENTIFIER,
    RESULT,
    Broker,
    broker_that,
    client_of,
    priced,
    refused,
    sells,
)
from tests.support.ports import free_port
from tests.support.standin import DROPPED, Answer

PENDING = Answer.of({"jobId": "job", "status": "running"}, 202, headers=(("Location", "/status/job"),))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paying, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(paying, "PENDING_PAUSE_S", 0.01)
    monkeypatch.setattr(paying, "LONGEST_PAUSE_S", 0.02)


def paid_then(*answers: Answer) -> Callable[[int, str | None], Answer]:
    """A price, then these to what is paid; the last one for ever."""
    return lambda n, payment: answers[min(n, len(answers)) - 1] if payment else priced()


def one_payment(broker: Broker, *, sent: int) -> None:
    assert broker.payments[0] is None
    assert (len(broker.payments) - 1, len(broker.signed)) == (sent, 1)


@pytest.mark.parametrize(
    "trouble",
    [DROPPED, refused(502, "bad_gateway"), refused(503, "try_again"), Answer(504, b"<html>"), PENDING],
    ids=["dropped", "502", "503", "504", "202"],
)
def test_what_is_no_outcome_is_asked_for_again_with_the_same_payment(trouble: Answer) -> None:
    with broker_that(paid_then(trouble, trouble, DONE)) as broker, client_of(broker) as client:
        assert client.run("1").job_id == "job"
        one_payment(broker, sent=3)
        assert client.signed_usd == Decimal("0.01")


def test_a_job_that_runs_is_looked_at_before_it_is_asked_for_again() -> None:
    with broker_that(paid_then(PENDING, DONE)) as broker, client_of(broker) as client:
        broker.jobs = ["running", "running", "completed"]
        client.run("1")
        assert broker.paths == ["POST /run", "POST /run", *["GET /status/job"] * 3, "POST /run"]


@pytest.mark.parametrize("trouble", [DROPPED, PENDING, Answer(504)], ids=["dropped", "202", "504"])
def test_an_outcome_that_never_comes_is_told_as_unknown_with_the_id_to_ask_by(trouble: Answer) -> None:
    script = paid_then(trouble)
    with broker_that(
        lambda n, payment: script(n, payment) if payment else priced(extensions=IDENTIFIER)
    ) as broker:
        with client_of(broker) as client, pytest.raises(OutcomeUnknown, match="do not pay again") as caught:
            client.run("1")
        one_payment(broker, sent=4)
        assert caught.value.payment_id == broker.signed[0]["extensions"]["payment-identifier"]["info"]["id"]
        assert caught.value.job_id == ("job" if trouble is PENDING else None)


def test_a_job_that_never_ends_is_not_looked_at_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paying, "PENDING_S", 0.1)
    with broker_that(paid_then(PENDING)) as broker, client_of(broker) as client:
        broker.jobs = ["running"] * 100_000
        with pytest.raises(OutcomeUnknown):
            client.run("1")
        one_payment(broker, sent=4)


def test_the_brokers_own_word_that_nothing_was_charged_is_passed_on() -> None:
    with broker_that(paid_then(refused(503, "executor_busy"))) as broker, client_of(broker) as client:
        with pytest.raises(RequestRefused, match="503: because of executor_busy") as caught:
            client.run("1")
        assert (caught.value.code, caught.value.request_id, caught.value.retryable) == (
            "executor_busy",
            "req",
            True,
        )


def test_another_402_is_not_paid_again() -> None:
    with broker_that(lambda *_: priced()) as broker, client_of(broker) as client:
        with pytest.raises(PaymentRefused, match="payment required"):
            client.run("1")
        one_payment(broker, sent=1)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 429, 500])
def test_a_refusal_is_an_outcome(status: int) -> None:
    with broker_that(paid_then(refused(status, "no_way", jobId="j"))) as broker, client_of(broker) as client:
        with pytest.raises(RequestRefused, match=f"{status}: because of no_way") as caught:
            client.run("1")
        one_payment(broker, sent=1)
    error = caught.value
    assert (error.status, error.code, error.request_id, error.job_id) == (status, "no_way", "req", "j")


def test_a_refund_that_is_owed_is_told_as_such_and_not_asked_for_again() -> None:
    owed = refused(502, "refund_owed", jobId="j", refund={"state": "owed", "amountUsd": "0.01"})
    with broker_that(paid_then(owed)) as broker, client_of(broker) as client:
        with pytest.raises(RefundOwed, match="Because of refund_owed") as caught:
            client.run("1")
        one_payment(broker, sent=1)
    assert (caught.value.refund_usd, caught.value.refund_state, caught.value.job_id) == (
        Decimal("0.01"),
        "owed",
        "j",
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("paid", [False, True])
def test_a_redirect_to_another_host_gets_neither_the_request_nor_the_payment(status: int, paid: bool) -> None:
    with broker_that(sells()) as thief:
        away = Answer(status, b"", headers=(("Location", f"{thief.url}/run"),))
        with broker_that(paid_then(away) if paid else lambda *_: away) as broker, client_of(broker) as client:
            with pytest.raises(RequestRefused, match="redirect"):
                client.run("1")
            with pytest.raises(RequestRefused, match="redirect"):
                client.store("text")
        assert thief.paths == []
    assert len(broker.signed) == (2 if paid else 0)


@pytest.mark.parametrize("where", ["{thief}/status/job", "//{host}/status/job", "http://[", ""])
def test_a_job_at_another_host_is_not_asked_for_there(where: str) -> None:
    with broker_that(sells()) as thief:
        there = where.format(thief=thief.url, host=thief.url.removeprefix("http://"))
        pending = Answer.of({"jobId": "job"}, 202, headers=(("Location", there),))
        with broker_that(paid_then(pending, DONE)) as broker, client_of(broker) as client:
            client.run("1")
            assert broker.paths == ["POST /run"] * 3
        assert thief.paths == []


def test_an_answer_that_drips_is_not_waited_for_without_end() -> None:
    drip = Answer(200, DONE.body, drip_s=0.05)

    def hurry(_: Price) -> None:
        """Only now: the price itself may take its time."""
        client._client._connection.timeout_s = 0.3

    with broker_that(paid_then(drip)) as broker, client_of(broker, timeout_s=20, on_price=hurry) as client:
        with pytest.raises(OutcomeUnknown, match="TimeoutError"):
            client.run("1")
        deadline = time.monotonic() + 20
        while len(broker.payments) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)  # what was given up may still be on its way
        one_payment(broker, sent=4)
        broker.script = lambda *_: drip
        with pytest.raises(Unreachable, match="TimeoutError"):
            client.run("1")


@pytest.mark.parametrize("paid", [False, True])
def test_an_answer_without_end_is_not_read(paid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1_000_000)
    huge = Answer(200, b" " * 3_000_000)
    with broker_that(paid_then(huge) if paid else lambda *_: huge) as broker, client_of(broker) as client:
        for buy in (lambda: client.run("1"), lambda: client.store("text")):
            with pytest.raises(BadAnswer, match="over 1000000 bytes"):
                buy()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"result": 7}', b'{"result": {}}', b"[" * 100_000, b"\xff\xfe"]
)
def test_an_answer_that_is_no_result_is_one_sentence(body: bytes) -> None:
    for answer in (Answer(200, body), Answer(402, body)):
        with broker_that(lambda *_, said=answer: said) as broker, client_of(broker) as client:
            with pytest.raises((BadAnswer, TermsRefused)):
                client.run("1")
            assert broker.signed == []


def test_a_broker_that_sells_instructions_is_told_apart() -> None:
    told = Answer.of({"jobId": "j", "status": "instructions_provided", "instructions": {}})
    with broker_that(paid_then(told)) as broker, client_of(broker) as client:
        with pytest.raises(BadAnswer, match="instructions") as caught:
            client.run("1")
        assert caught.value.job_id == "j"


def test_no_broker_is_unreachable_and_costs_nothing() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(base_url=url) as client:
        for call in (lambda: client.run("1"), lambda: client.fetch("cid"), lambda: client.quote("run")):
            with pytest.raises(Unreachable, match=f"{url} does not answer") as caught:
                call()
            assert caught.value.retryable


def test_what_is_free_of_charge_is_not_paid() -> None:
    with broker_that(lambda *_: DONE) as broker, client_of(broker) as client:
        run = client.run("1")
        assert (run.price_usd, run.receipt, broker.payments) == (0, None, [None])


def test_a_price_that_is_told_afterwards_is_never_over_what_was_signed() -> None:
    for told, price in (("99", "0.01"), ("0.004", "0.004"), (None, "0.01"), ([], "0.01")):
        body: dict[str, Any] = {"jobId": "j", "provider": "p", "price_usd": told, "result": RESULT}
        with broker_that(paid_then(Answer.of(body))) as broker, client_of(broker) as client:
            assert client.run("1").price_usd == Decimal(price)


def test_an_id_of_ours_goes_along_where_the_broker_takes_one_and_is_not_dropped_where_not() -> None:
    with broker_that(sells(priced(extensions=IDENTIFIER))) as broker, client_of(broker) as client:
        client.run("1", payment_id="order-0123456789")
        client.run("1")
        first, second = (one["extensions"]["payment-identifier"]["info"]["id"] for one in broker.signed)
        assert first == "order-0123456789"
        assert second.startswith("pay_")
        broker.script = sells()
        with pytest.raises(TermsRefused, match="payment_id"):
            client.run("1", payment_id="order-0123456789")
        client.run("1")
        assert len(broker.signed) == 3
        assert "extensions" not in broker.signed[2]


def test_other_extensions_of_the_broker_are_not_echoed() -> None:
    strange = {"sign-in-with-x": {"info": {"domain": "bank.test"}}, "payment-identifier": "yes"}
    with broker_that(sells(priced(extensions=strange))) as broker, client_of(broker) as client:
        client.run("1")
    assert not broker.signed[0].get("extensions")


def test_every_failure_is_one_error_with_a_sentence() -> None:
    page = Answer(500, b"\x1b[2J<html>")
    with (
        broker_that(lambda *_: page) as broker,
        client_of(broker) as client,
        pytest.raises(Error) as caught,
    ):
        client.run("1")
    assert str(caught.value) == "The broker answered 500: Internal Server Error."


def test_a_cache_whose_operations_are_used_up_is_not_topped_up_unasked() -> None:
    with broker_that(sells()) as broker, client_of(broker) as client:
        cache = client.cache("cache", "token")
        broker.script = lambda *_: replace(
            priced(), body=b'{"error": "used up", "code": "operations_used_up"}'
        )
        with pytest.raises(RequestRefused, match="402: used up") as caught:
            cache.command("GET", "key")
        assert (caught.value.code, broker.signed) == ("operations_used_up", [])


def test_a_cache_that_is_gone_is_no_missing_key() -> None:
    for code, missing in (("key_not_found", True), ("cache_not_found", False)):
        with broker_that(sells()) as broker, client_of(broker) as client:
            broker.refusal = refused(404, code)
            cache = client.cache("cache", "token")
            if missing:
                assert cache.get("key", "none") == "none"
            else:
                with pytest.raises(RequestRefused, match="404"):
                    cache.get("key", "none")
