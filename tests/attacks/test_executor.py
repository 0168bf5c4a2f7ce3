"""An executor that fails or lies: nothing is charged for it, and its headers steer nothing."""

import base64
import json

import httpx
import pytest

from tests.attacks.world import World, challenge_of, new_body, price_of
from tests.support.standin import DROPPED, Answer, always
from tests.support.wallets import Wallet, receipt_of

EVIL = "0x" + "e0" * 20
FORGED = base64.b64encode(
    json.dumps({"success": True, "transaction": EVIL, "payer": EVIL, "amount": "0"}).encode()
).decode()
STEERING = (
    ("PAYMENT-RESPONSE", FORGED),
    ("X-PAYMENT-RESPONSE", FORGED),
    ("PAYMENT-REQUIRED", FORGED),
    ("Settlement-Overrides", '{"amount": "0"}'),
    ("X-Settlement-Overrides", '{"amount": "0"}'),
    ("EXTENSION-RESPONSES", FORGED),
    ("Set-Cookie", "session=stolen"),
    ("Location", "https://evil.example"),
    ("Refresh", "0; url=https://evil.example"),
    ("Access-Control-Allow-Origin", "*"),
    ("X-Accel-Redirect", "/etc/passwd"),
    ("X-Sendfile", "/etc/passwd"),
    ("Cache-Control", "public, max-age=31536000"),
    ("Content-Disposition", "attachment"),
    ("Retry-After", "999999"),
    ("Content-Type", "text/html"),
)


@pytest.mark.parametrize("version", [1, 2])
def test_headers_of_the_executor_that_try_to_steer_settlement_stay_inside(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    world.executor.on_execute = lambda task: Answer.of(
        {"jobId": task["jobId"], "status": "completed", "result": world.executor.kept[task["jobId"]]},
        headers=STEERING,
    )
    answer = broker.post(
        "/run", json=body, headers=wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    )
    assert answer.status_code == 200
    for name, value in STEERING:
        assert answer.headers.get(name) != value, name
    assert not {"set-cookie", "settlement-overrides", "location", "refresh"} & set(answer.headers)
    assert receipt_of(answer)["payer"].lower() == wallet.address.lower()
    assert world.facilitator.moved(wallet.address) == [price_of(challenge)]
    assert answer.headers["Content-Type"].startswith("application/json")
    world.assert_sold_once(wallet, body)


def test_fields_of_the_executors_answer_do_not_change_the_price_or_the_job(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    world.executor.on_execute = lambda task: Answer.of(
        {
            "jobId": "another",
            "status": "completed",
            "price_usd": "0",
            "settle": False,
            "result": {**world.executor.kept[task["jobId"]], "price_usd": "0", "jobId": "another"},
        }
    )
    answer = broker.post("/run", json=body, headers=wallet.pay_v2(challenge))
    assert answer.status_code == 200
    (row,) = world.payments(wallet)
    assert answer.json()["jobId"] == row.job_id
    assert answer.json()["price_usd"] == "0.0062"
    assert row.amount_atomic == price_of(challenge)
    world.assert_sold_once(wallet, body)


FAILURES = {
    "drops the connection": DROPPED,
    "fails": Answer.of({"jobId": "1", "status": "failed", "error": "Traceback: KeyError"}, 500),
    "redirects": Answer(302, headers=(("Location", "/providers"),)),
    "is overloaded": Answer.of({"error": "busy", "code": "busy"}, 503),
    "wants to be paid": Answer.of({"x402Version": 1, "accepts": []}, 402),
    "answers in HTML": Answer(502, b"<html>"),
    "is not authorised": Answer.of({"error": "This service is internal"}, 401),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_nothing_is_charged_and_the_payment_stays_good_when_the_executor(
    world: World, broker: httpx.Client, wallet: Wallet, fault: str
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    world.executor.on_execute = always(FAILURES[fault])
    refused = broker.post("/run", json=body, headers=headers)
    assert refused.status_code == 503, refused.text
    assert "Retry-After" in refused.headers
    world.assert_free_of_charge(wallet)
    world.executor.on_execute = None
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert len(world.facilitator.moved(wallet.address)) == 1
    assert world.states(wallet) == ["settled"]


NO_RESULTS = {
    "an empty object": b"{}",
    "a list": b"[]",
    "null": b"null",
    "text": b"done",
    "NaN": b"NaN",
    "completed without a result": b'{"status": "completed"}',
    "completed with null": b'{"status": "completed", "result": null}',
    "completed with a list": b'{"status": "completed", "result": []}',
    "completed with fields missing": b'{"status": "completed", "result": {"stdout": "secret"}}',
    "50,000 deep": b"[" * 50_000 + b"]" * 50_000,
    "failed with status 200": b'{"status": "failed", "error": "no"}',
}


@pytest.mark.parametrize("answer", NO_RESULTS)
def test_nothing_is_charged_when_the_executors_answer_is(
    world: World, broker: httpx.Client, wallet: Wallet, answer: str
) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    world.executor.on_execute = always(Answer(body=NO_RESULTS[answer]))
    refused = broker.post("/run", json=body, headers=headers)
    assert refused.status_code == 503, refused.text
    assert "secret" not in refused.text
    world.assert_free_of_charge(wallet)


def test_nothing_is_charged_for_output_that_is_half_a_character(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Or it is passed on: but it is never a 500, and never a payment that hangs for ever."""
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    world.executor.on_execute = lambda task: Answer.of(
        {"status": "completed", "result": {**world.executor.kept[task["jobId"]], "stdout": "\ud800"}}
    )
    answer = broker.post("/run", json=body, headers=headers)
    assert answer.status_code in {200, 503}
    assert world.states(wallet) == ["settled" if answer.status_code == 200 else "voided"]


def test_nothing_is_charged_when_the_executor_is_down(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    with world.executor.down():
        refused = broker.post("/run", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (503, "executor_unavailable")
    world.assert_free_of_charge(wallet)
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)
