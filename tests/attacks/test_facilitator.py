"""A facilitator that is down, slow, wrong or lying: before the run it costs a 503, after it a 202."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.attacks.facilitator import Asked, success_of
from tests.attacks.world import World, challenge_of, new_body, running_world, sent_meanwhile
from tests.support.standin import DROPPED, Answer, always
from tests.support.wallets import Wallet, new_wallet, receipt_of

DEEP = b"[" * 50_000 + b"]" * 50_000
ANOTHER = "0x" + "ab" * 20

HURRIED_S = 1.5
"""How long a broker waits for a facilitator that is slow."""
SLOW = ("is slow", "sends a byte now and then")
BROKEN: dict[str, Answer] = {
    "drops the connection": DROPPED,
    "is slow": Answer(delay_s=80),
    "sends a byte now and then": Answer(body=b'{"isValid":true,"success":true}', drip_s=2.5),
    "redirects": Answer(307, headers=(("Location", "/elsewhere"),)),
    "redirects for good": Answer(308, headers=(("Location", "http://127.0.0.1:9/settle"),)),
    "has too many requests": Answer.of({"error": "slow down"}, 429, headers=(("Retry-After", "60"),)),
    "fails": Answer(500, b"Traceback (most recent call last): KeyError at /srv/facilitator.py"),
    "is behind a broken proxy": Answer(502, b"<html>Bad Gateway</html>"),
    "wants to be paid itself": Answer.of({"x402Version": 1, "accepts": []}, 402),
    "says nothing": Answer(body=b""),
    "answers in HTML": Answer(body=b"<html>ok</html>", headers=(("Content-Type", "text/html"),)),
    "answers half a JSON": Answer(body=b'{"isValid": tr'),
    "answers a list": Answer.of([True]),
    "answers null": Answer.of(None),
    "answers an empty object": Answer.of({}),
    "answers NaN": Answer(body=b'{"isValid": NaN, "success": NaN}'),
    "answers 50,000 deep": Answer(body=DEEP),
    "answers in no known encoding": Answer(body=b"\xff\xfe\x00garbage"),
    "answers with no content": Answer(204, b""),
}


@pytest.fixture(scope="module")
def hurried_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One whose broker does not wait for long."""
    home = tmp_path_factory.mktemp("hurried")
    with running_world(home, lease_s=5, facilitator_timeout_s=HURRIED_S) as running:
        yield running


@pytest.fixture
def world(request: pytest.FixtureRequest, session_world: World) -> World:
    """The others' world; where the facilitator is slow, that of a broker that does not wait for long."""
    call = getattr(request.node, "callspec", None)
    is_slow = call is not None and call.params.get("fault") in SLOW
    chosen: World = request.getfixturevalue("hurried_world") if is_slow else session_world
    chosen.be_honest()
    return chosen


def pay(
    world: World, broker: httpx.Client, wallet: Wallet, body: dict[str, object], version: int = 2
) -> httpx.Response:
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    return broker.post("/run", json=body, headers=headers)


# -- before the run ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", BROKEN)
def test_nothing_runs_when_at_verify_the_facilitator(
    world: World, broker: httpx.Client, wallet: Wallet, fault: str
) -> None:
    body = new_body()
    world.facilitator.on_verify = always(BROKEN[fault])
    began = time.monotonic()
    answer = pay(world, broker, wallet, body)
    assert (answer.status_code, answer.json()["code"]) == (503, "facilitator_unavailable"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert time.monotonic() - began < HURRIED_S + 14
    world.assert_nothing_sold(wallet, body)


def test_nothing_runs_when_at_verify_the_facilitator_is_down(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = wallet.pay_v1(challenge_of(broker, body))
    with world.facilitator.down():
        answer = broker.post("/run", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "facilitator_unavailable")
    world.assert_nothing_sold(wallet, body)
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    world.assert_sold_once(wallet, body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stage", ["verify", "settle"])
def test_a_redirect_to_somebody_who_says_yes_is_not_followed(
    world: World, broker: httpx.Client, wallet: Wallet, stage: str, status: int
) -> None:
    body = new_body()
    yes = always(Answer(status, headers=(("Location", world.facilitator.url + "/yes/base-sepolia"),)))
    followed = world.facilitator.followed
    if stage == "verify":
        world.facilitator.on_verify = yes
        assert pay(world, broker, wallet, body, 1).status_code == 503
        world.assert_nothing_sold(wallet, body)
    else:
        world.facilitator.on_settle = yes
        assert_pending(world, broker, wallet, pay(world, broker, wallet, body, 1))
    assert world.facilitator.followed == followed


def test_a_payment_the_facilitator_finds_bad_is_a_402_and_no_run(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_verify = always(Answer.of({"isValid": False, "invalidReason": "insufficient_funds"}))
    answer = pay(world, broker, wallet, body)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_funds")
    world.assert_nothing_sold(wallet, body)


def test_a_payment_the_facilitator_finds_good_for_another_payer_is_no_run(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_verify = always(Answer.of({"isValid": True, "payer": ANOTHER}))
    assert pay(world, broker, wallet, body).status_code in {402, 503}
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "reason",
    ["x" * 60_000, "a\r\nX-PAYMENT-RESPONSE: forged", "<script>alert(1)</script>", "\ud800", "\x00"],
    ids=["60 KB", "a new header", "HTML", "half a character", "NUL"],
)
def test_the_facilitators_words_do_not_break_the_answer(
    world: World, broker: httpx.Client, wallet: Wallet, reason: str
) -> None:
    """Stock clients and proxies take 8 to 16 KB of headers; the reason travels in one of them."""
    body = new_body()
    world.facilitator.on_verify = always(Answer.of({"isValid": False, "invalidReason": reason}))
    answer = pay(world, broker, wallet, body)
    assert answer.status_code == 402
    assert sum(len(name) + len(value) for name, value in answer.headers.raw) < 8_000
    assert "X-PAYMENT-RESPONSE" not in answer.headers
    assert answer.headers["Content-Type"].startswith("application/json")
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "trick", ["Traceback (most recent call last)", "KeyError: 'x' in /srv/app/facilitator.py"]
)
def test_the_facilitators_own_troubles_are_not_told_to_the_client(
    world: World, broker: httpx.Client, wallet: Wallet, trick: str
) -> None:
    body = new_body()
    world.facilitator.on_verify = always(Answer.of({"isValid": False, "invalidReason": trick}))
    answer = pay(world, broker, wallet, body)  # the client checks each answer for leaks
    assert answer.status_code in {402, 503}
    world.assert_nothing_sold(wallet, body)


# -- after the run -----------------------------------------------------------------------------


def assert_pending(world: World, broker: httpx.Client, wallet: Wallet, answer: httpx.Response) -> None:
    """202, the result withheld, the row `unknown`; and the same payment again does not settle it twice."""
    assert answer.status_code == 202, answer.text
    assert "secret" not in answer.text
    assert "Retry-After" in answer.headers
    assert "PAYMENT-REQUIRED" not in answer.headers
    url = world.stack.broker + answer.headers["Location"]
    job = httpx.get(url, timeout=30, trust_env=False, verify=False)
    assert job.status_code == 200
    assert job.json()["result"] is None
    assert job.json()["status"] != "completed"
    (row,) = world.payments(wallet)
    assert row.state in {"unknown", "settling"} or world.facilitator.moved(wallet.address)
    assert len(world.facilitator.moved(wallet.address)) <= 1


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("fault", BROKEN)
def test_the_outcome_is_pending_when_at_settlement_the_facilitator(
    world: World, broker: httpx.Client, wallet: Wallet, fault: str, version: int
) -> None:
    body = new_body()
    world.facilitator.on_settle = always(BROKEN[fault])
    began = time.monotonic()
    answer = pay(world, broker, wallet, body, version)
    assert time.monotonic() - began < HURRIED_S + 14
    assert_pending(world, broker, wallet, answer)
    assert world.runs(body) == 1


def test_the_outcome_is_pending_when_at_settlement_the_facilitator_is_down(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.executor.run_until = is_down = threading.Event()
    headers = wallet.pay_v2(challenge_of(broker, body))
    with world.client() as waiting, sent_meanwhile(waiting, body, headers) as sent:
        assert world.executor.began.wait(20)
        with world.facilitator.down():
            is_down.set()
            answer = sent.result()
            assert_pending(world, broker, wallet, answer)
    assert world.runs(body) == 1


@pytest.mark.parametrize("fault", ["drops the connection", "is slow", "fails", "says nothing"])
def test_the_public_reason_of_a_pending_payment_names_no_exception_when_the_facilitator(
    world: World, broker: httpx.Client, wallet: Wallet, fault: str
) -> None:
    world.facilitator.on_settle = always(BROKEN[fault])
    answer = pay(world, broker, wallet, new_body())
    job = broker.get(answer.headers["Location"])  # the client checks each answer for leaks
    assert job.json()["payment"]["reason"]


LIES = {
    "another payer": {"payer": ANOTHER},
    "another amount": {"amount": "1"},
    "another network": {"network": "eip155:8453"},
    "an empty network": {"network": ""},
    "an empty transaction": {"transaction": ""},
    "a short transaction": {"transaction": "0xabc"},
    "a transaction that is text": {"transaction": "see our web site"},
    "a transaction of 64 characters without 0x": {"transaction": "ab" * 33},
    "a null transaction": {"transaction": None},
    "a transaction that is a number": {"transaction": 7},
    "an error reason beside the success": {"transaction": "", "errorReason": "insufficient_funds"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_success_is_not_believed_with(world: World, broker: httpx.Client, wallet: Wallet, lie: str) -> None:
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(success_of(asked, **LIES[lie]))
    answer = pay(world, broker, wallet, body)
    assert_pending(world, broker, wallet, answer)
    assert world.runs(body) == 1


def test_a_success_that_is_not_believed_alarms(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    log = world.stack.processes["broker"]
    before = log.output().count("facilitator_success_not_believed")
    world.facilitator.on_settle = lambda asked: Answer.of(success_of(asked, payer=ANOTHER))
    assert pay(world, broker, wallet, body).status_code == 202
    assert log.output().count("facilitator_success_not_believed") > before


@pytest.mark.parametrize("reason", ["unexpected_settle_error", "", None, "authorization_already_used"])
def test_a_refusal_for_an_unclear_reason_is_pending_and_never_a_402(
    world: World, broker: httpx.Client, wallet: Wallet, reason: str | None
) -> None:
    """The money may have moved: a 402 would have the client pay twice."""
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, transaction="", errorReason=reason)
    )
    assert_pending(world, broker, wallet, pay(world, broker, wallet, body))


@pytest.mark.parametrize("reason", ["x" * 60_000, "\ud800", "\x00"], ids=["60 KB", "half a character", "NUL"])
def test_the_facilitators_words_do_not_break_a_pending_answer(
    world: World, broker: httpx.Client, wallet: Wallet, reason: str
) -> None:
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, transaction="", errorReason=reason)
    )
    answer = pay(world, broker, wallet, body)
    assert_pending(world, broker, wallet, answer)
    assert len(broker.get(answer.headers["Location"]).text) < 8_000


def test_a_refusal_that_names_a_transaction_is_pending(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, errorReason="insufficient_funds")
    )
    assert_pending(world, broker, wallet, pay(world, broker, wallet, body))


def test_an_answer_lost_after_the_money_moved_never_moves_it_again(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()

    def move_and_hang_up(asked: Asked) -> Answer:
        world.facilitator.settle(asked)
        return DROPPED

    world.facilitator.on_settle = move_and_hang_up
    challenge = challenge_of(broker, body)
    headers = wallet.pay_v2(challenge)
    first = broker.post("/run", json=body, headers=headers)
    assert_pending(world, broker, wallet, first)
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code in {200, 202}
    assert again.json()["jobId"] == first.json()["jobId"]
    assert world.facilitator.moved(wallet.address) == [
        int(challenge.json()["accepts"][0]["maxAmountRequired"])
    ]
    assert world.runs(body) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_settlement_refused_after_the_run_withholds_the_result(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    refusal = {"success": False, "errorReason": "insufficient_funds", "transaction": ""}
    world.facilitator.on_settle = lambda asked: Answer.of(
        {**refusal, "network": asked.network, "payer": asked.payer}
    )
    answer = pay(world, broker, wallet, body, version)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_funds")
    assert "secret" not in answer.text
    receipt = receipt_of(answer)
    assert (receipt["success"], receipt["transaction"]) == (False, "")
    (row,) = world.payments(wallet)
    assert (row.state, row.job_status) == ("rejected", "unpaid")
    assert broker.get(f"/status/{row.job_id}").json()["result"] is None
    assert (world.runs(body), world.facilitator.moved(wallet.address)) == (1, [])


def test_a_refused_authorization_sent_again_neither_runs_nor_settles_again(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, transaction="", errorReason="insufficient_funds")
    )
    headers = wallet.pay_v2(challenge_of(broker, body))
    assert broker.post("/run", json=body, headers=headers).status_code == 402
    world.facilitator.on_settle = None
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code == 402
    assert "secret" not in again.text
    assert world.runs(body) == 1
    assert world.facilitator.settles(wallet.address) == 1


def test_the_settlement_asks_for_the_offered_terms_whatever_the_client_wrote(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Amount, recipient and token in front of the facilitator are ours, not an echo."""
    body = new_body()
    assert pay(world, broker, wallet, body, 2).status_code == 200
    wanted = challenge_of(broker, body).json()["accepts"][0]
    for asked in [asked for asked in world.facilitator.asked if asked.payer == wallet.address.lower()]:
        ours = asked.body["paymentRequirements"]
        assert (ours["payTo"], ours["asset"]) == (wanted["payTo"], wanted["asset"])
        assert ours["amount"] == wanted["maxAmountRequired"] == asked.authorization["value"]


def test_a_facilitator_that_hangs_for_one_payer_holds_no_other_up(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body, other_body, other = new_body(), new_body(), new_wallet()
    slow = BROKEN["is slow"]
    world.facilitator.on_verify = lambda asked: slow if asked.payer == wallet.address.lower() else None
    headers = wallet.pay_v1(challenge_of(broker, body))
    with world.client() as waiting, sent_meanwhile(waiting, body, headers) as sent:
        assert world.facilitator.verify_began.wait(20)
        # Whoever had to wait for the first one's turn would have to wait until the broker gives it up.
        assert pay(world, broker, other, other_body).status_code == 200
        assert not sent.done()
        with world.facilitator.down():
            assert sent.result().status_code == 503
    world.assert_sold_once(other, other_body)
    world.assert_nothing_sold(wallet, body)
