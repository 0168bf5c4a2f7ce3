"""A settlement whose outcome nobody knew is found out: from the chain, or from the facilitator."""

import httpx
import pytest

from tests.attacks.facilitator import Asked, success_of, transaction_of
from tests.attacks.world import World, challenge_of, closed, new_body, opened, wait_until
from tests.support.standin import DROPPED, Answer, always
from tests.support.wallets import Wallet, new_wallet, receipt_of


def lose_the_outcome(
    world: World, broker: httpx.Client, wallet: Wallet, body: dict[str, object], *, moved: bool
) -> tuple[dict[str, str], httpx.Response]:
    """Pay, and have the facilitator hang up at the settlement, after the money moved or before."""

    def hang_up(asked: Asked) -> Answer:
        if moved:
            world.facilitator.settle(asked)
        return DROPPED

    world.facilitator.on_settle = hang_up
    headers = wallet.pay_v2(challenge_of(broker, body))
    answer = broker.post("/run", json=body, headers=headers)
    assert answer.status_code == 202
    return headers, answer


def test_money_that_moved_unseen_is_found_on_the_chain_and_releases_the_result(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers, pending = lose_the_outcome(world, broker, wallet, body, moved=True)
    wait_until(lambda: world.states(wallet) == ["settled"], "the chain is asked")
    job = broker.get(pending.headers["Location"]).json()
    assert job["status"] == "completed"
    assert "secret" in job["result"]["stdout"]
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code == 200
    (nonce,) = {asked.nonce for asked in world.facilitator.asked if asked.payer == wallet.address.lower()}
    assert receipt_of(again)["transaction"] == transaction_of((wallet.address.lower(), nonce))
    assert (world.runs(body), len(world.facilitator.moved(wallet.address))) == (1, 1)


def test_money_that_did_not_move_is_asked_for_again_and_moves_once(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers, _ = lose_the_outcome(world, broker, wallet, body, moved=False)
    world.facilitator.on_settle = None
    wait_until(lambda: world.states(wallet) == ["settled"], "the facilitator is asked again")
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert (world.runs(body), len(world.facilitator.moved(wallet.address))) == (1, 1)


def test_an_authorization_cancelled_on_the_chain_withholds_the_result(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers, pending = lose_the_outcome(world, broker, wallet, body, moved=False)
    (nonce,) = {asked.nonce for asked in world.facilitator.asked if asked.payer == wallet.address.lower()}
    world.facilitator.cancelled.add((wallet.address.lower(), nonce))
    wait_until(lambda: world.states(wallet) == ["rejected"], "the chain is asked")
    assert broker.get(pending.headers["Location"]).json()["result"] is None
    again = broker.post("/run", json=body, headers=headers)
    assert again.status_code == 402
    assert "secret" not in again.text
    assert (world.runs(body), world.facilitator.moved(wallet.address)) == (1, [])


@pytest.mark.parametrize("lie", ["success", "no funds"])
def test_a_facilitator_that_lies_about_an_unknown_settlement_is_not_believed(
    world: World, broker: httpx.Client, wallet: Wallet, lie: str
) -> None:
    """A false success releases nothing; "no funds" after a lost answer is no proof that nothing moved."""
    body = new_body()
    headers, _ = lose_the_outcome(world, broker, wallet, body, moved=False)
    before = world.facilitator.settles(wallet.address)
    lies = {
        "success": {"transaction": ""},
        "no funds": {"success": False, "transaction": "", "errorReason": "insufficient_funds"},
    }
    world.facilitator.on_settle = lambda asked: Answer.of(success_of(asked, **lies[lie]))
    wait_until(lambda: world.facilitator.settles(wallet.address) > before, "the facilitator is asked again")
    answer = broker.post("/run", json=body, headers=headers, timeout=110)
    assert answer.status_code == 202
    # At any moment it may be asked again, and is settling while it is.
    wait_until(lambda: world.states(wallet) == ["unknown"], "nobody knows")
    assert "secret" not in answer.text
    assert world.runs(body) == 1


def test_a_pending_payment_makes_nobody_else_wait(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    """Somebody else's same request is sold as usual while the first one's outcome is unknown."""
    body, other = new_body(), new_wallet()
    lose_the_outcome(world, broker, wallet, body, moved=False)
    world.facilitator.on_settle = lambda asked: DROPPED if asked.payer == wallet.address.lower() else None
    assert broker.post("/run", json=body, headers=other.pay_v1(challenge_of(broker, body))).status_code == 200
    assert world.states(other) == ["settled"]
    assert world.states(wallet) != ["settled"]


# -- results that were not paid ------------------------------------------------------------------


def refuse(world: World) -> None:
    world.facilitator.on_settle = lambda asked: Answer.of(
        success_of(asked, success=False, transaction="", errorReason="insufficient_funds")
    )


def leave_unpaid(
    world: World, broker: httpx.Client, wallet: Wallet, body: dict[str, object]
) -> httpx.Response:
    refuse(world)
    answer = broker.post("/run", json=body, headers=wallet.pay_v2(challenge_of(broker, body)))
    assert answer.status_code == 402
    assert world.states(wallet) == ["rejected"]
    world.facilitator.on_settle = None
    return answer


@pytest.mark.parametrize("version", [1, 2])
def test_a_new_authorization_releases_an_unpaid_result_without_a_second_run(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    refused = leave_unpaid(world, broker, wallet, body)
    headers = wallet.pay_v1(refused) if version == 1 else wallet.pay_v2(refused)
    released = broker.post("/run", json=body, headers=headers)
    assert released.status_code == 200, released.text
    assert "secret" in released.text
    assert world.runs(body) == world.executor.calls[released.json()["jobId"]] == 1
    assert len(world.facilitator.moved(wallet.address)) == 1
    assert sorted(world.states(wallet)) == ["rejected", "settled"]


def test_an_unpaid_result_is_not_released_to_another_wallet(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body, other = new_body(), new_wallet()
    unpaid = world.executor.kept
    refused = leave_unpaid(world, broker, wallet, body)
    (row,) = world.payments(wallet)
    sold = broker.post("/run", json=body, headers=other.pay_v2(refused))
    assert sold.status_code == 200
    assert unpaid[row.job_id]["stdout"] not in sold.text
    assert world.runs(body) == 2
    assert world.states(wallet) == ["rejected"]


def test_an_unpaid_result_is_not_lost_when_the_next_authorization_is_voided(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """The facilitator is down when the new authorization comes; the one after it still runs nothing."""
    body = new_body()
    refused = leave_unpaid(world, broker, wallet, body)
    world.facilitator.on_verify = always(DROPPED)
    assert broker.post("/run", json=body, headers=wallet.pay_v2(refused)).status_code == 503
    world.facilitator.on_verify = None
    released = broker.post("/run", json=body, headers=wallet.pay_v2(refused))
    assert released.status_code == 200
    assert world.runs(body) == 1


def test_an_unpaid_result_refused_again_and_again_is_run_once_and_never_shown(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    refused = leave_unpaid(world, broker, wallet, body)
    refuse(world)
    for _ in range(4):
        refused = broker.post("/run", json=body, headers=wallet.pay_v1(refused))
        assert refused.status_code == 402
        assert "secret" not in refused.text
    assert world.runs(body) == 1
    assert world.facilitator.moved(wallet.address) == []


# -- payment identifiers -------------------------------------------------------------------------


def identified(wallet: Wallet, challenge: httpx.Response, identifier: object) -> dict[str, str]:

    paid = opened(wallet.pay_v2(challenge))
    paid["extensions"] = {"payment-identifier": {"info": {"required": False, "id": identifier}}}
    return closed(paid)


def test_one_identifier_for_two_requests_is_a_409(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    first, second = new_body(), new_body()
    sold = broker.post(
        "/run", json=first, headers=identified(wallet, challenge_of(broker, first), "order-" + "1" * 20)
    )
    assert sold.status_code == 200
    other = broker.post(
        "/run", json=second, headers=identified(wallet, challenge_of(broker, second), "order-" + "1" * 20)
    )
    assert other.status_code == 409
    assert "secret" not in other.text
    world.assert_sold_once(wallet, first, second)


def test_one_identifier_with_two_authorizations_for_one_request_is_one_sale(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    answers = [
        broker.post("/run", json=body, headers=identified(wallet, challenge, "order-" + "2" * 20))
        for _ in range(3)
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    world.assert_sold_once(wallet, body)


def test_a_strangers_identifier_yields_neither_its_result_nor_a_conflict(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body, stranger = new_body(), new_wallet()
    challenge = challenge_of(broker, body)
    mine = broker.post("/run", json=body, headers=identified(wallet, challenge, "order-" + "3" * 20))
    theirs = broker.post("/run", json=body, headers=identified(stranger, challenge, "order-" + "3" * 20))
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert mine.json()["jobId"] != theirs.json()["jobId"]
    assert world.states(wallet) == world.states(stranger) == ["settled"]


def test_an_identifier_does_not_stick_to_a_payment_that_was_refused(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """The client keeps its key, signs again as the 402 asks it to, and gets the kept result."""
    body = new_body()
    refuse(world)
    first = identified(wallet, challenge_of(broker, body), "order-" + "4" * 20)
    assert broker.post("/run", json=body, headers=first).status_code == 402
    world.facilitator.on_settle = None
    second = identified(wallet, challenge_of(broker, body), "order-" + "4" * 20)
    released = broker.post("/run", json=body, headers=second)
    assert released.status_code == 200, released.text
    assert world.runs(body) == 1
    assert len(world.facilitator.moved(wallet.address)) == 1


def test_an_identifier_does_not_stick_to_a_payment_that_was_voided(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    world.facilitator.on_verify = always(DROPPED)
    first = identified(wallet, challenge_of(broker, body), "order-" + "5" * 20)
    assert broker.post("/run", json=body, headers=first).status_code == 503
    world.facilitator.on_verify = None
    second = identified(wallet, challenge_of(broker, body), "order-" + "5" * 20)
    assert broker.post("/run", json=body, headers=second).status_code == 200
    assert world.states(wallet) == ["voided", "settled"]
    assert (world.runs(body), len(world.facilitator.moved(wallet.address))) == (1, 1)


@pytest.mark.parametrize(
    "identifier", ["short", "x" * 129, "a" * 20 + "\n", "\uff11" * 20, 7, ["a" * 20], "\ud800" * 20]
)
def test_a_malformed_identifier_is_a_400(
    world: World, broker: httpx.Client, wallet: Wallet, identifier: object
) -> None:
    body = new_body()
    answer = broker.post(
        "/run", json=body, headers=identified(wallet, challenge_of(broker, body), identifier)
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)
