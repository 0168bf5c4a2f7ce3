"""Work for which somebody else is paid: the customer's money first, one charge, a refund if it fails."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.attacks.neighbours import FEE_ATOMIC, PRICE_ATOMIC
from tests.attacks.world import World, challenge_of, new_body, wait_until
from tests.support.standin import Answer, always
from tests.support.wallets import Wallet

FAILED = {"status": "failed", "error": "it burns", "code": "upstream_refused"}
OWED = {"state": "owed", "amountUsd": "0.0062"}


def remote(provider: str, price_atomic: int = PRICE_ATOMIC, settle: str = "before") -> dict[str, Any]:
    return {
        "provider": provider,
        "kind": "compute",
        "price_usd": "0.0012",
        "price_atomic": price_atomic,
        "network": "base-sepolia",
        "valid_until": "2099-01-01T00:00:00.000Z",
        "settle": settle,
        "x402_instructions": {"x402Version": 1, "method": "POST", "url": "https://x.example", "accepts": []},
    }


def sold_by(*quotes: dict[str, Any]) -> Callable[[Any], Answer]:
    return lambda _: Answer.of(
        {"quotes": list(quotes), "best": quotes[0], "count": len(quotes), "declined": []}
    )


class Tasks:
    """What the executor is told; its providers in `failing` fail."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)
        self.seen: list[dict[str, Any]] = []

    def __call__(self, task: dict[str, Any]) -> Answer | None:
        self.seen.append(task)
        return Answer.of(FAILED, 502) if task["provider"] in self.failing else None

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(task["provider"], task["maxSpendAtomic"]) for task in self.seen]


def paid_for(world: World, broker: httpx.Client, wallet: Wallet, body: dict[str, Any]) -> dict[str, str]:
    return wallet.pay_v2(challenge_of(broker, body))


def test_fifty_parallel_requests_with_one_authorization_are_one_charge_and_one_order(
    world: World, wallet: Wallet
) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body()
    with world.client() as broker, world.client("broker2") as other:
        headers = paid_for(world, broker, wallet, body)
        with ThreadPoolExecutor(50) as pool:
            answers = list(
                pool.map(lambda n: (broker, other)[n % 2].post("/run", json=body, headers=headers), range(50))
            )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    world.assert_sold_once(wallet, body)
    assert tasks.asked == [("merit-systems", str(PRICE_ATOMIC))]


def test_the_money_moves_before_the_executor_is_asked(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    settled_when_asked: list[int] = []
    world.executor.on_execute = lambda _: settled_when_asked.append(world.facilitator.settles(wallet.address))
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body()
    headers = paid_for(world, broker, wallet, body)
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert settled_when_asked == [1]


def test_a_customer_without_money_has_nobody_paid(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body()
    headers = paid_for(world, broker, wallet, body)
    world.facilitator.on_settle = always(
        Answer.of({"success": False, "errorReason": "insufficient_funds", "transaction": "", "network": ""})
    )
    refused = broker.post("/run", json=body, headers=headers)
    assert (refused.status_code, tasks.seen) == (402, [])
    assert world.states(wallet) == ["rejected"]


def test_while_nobody_knows_whether_the_customer_paid_nobody_else_is_paid(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body()
    headers = paid_for(world, broker, wallet, body)
    world.facilitator.on_settle = always(Answer.of({"error": "bad gateway"}, 502))
    pending = broker.post("/run", json=body, headers=headers)
    assert (pending.status_code, tasks.seen) == (202, [])
    world.facilitator.be_honest()
    wait_until(lambda: world.states(wallet) == ["settled"], "the settlement comes to be known")
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert len(tasks.seen) == 1
    assert len(world.facilitator.moved(wallet.address)) == 1


def test_the_next_provider_does_the_work_of_one_that_fails_on_the_same_payment(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    tasks = world.executor.on_execute = Tasks("merit-systems")
    world.quote.on_quote = sold_by(remote("merit-systems"), remote("local", 9_000, "after"))
    body = new_body()
    answer = broker.post("/run", json=body, headers=paid_for(world, broker, wallet, body))
    assert (answer.status_code, answer.json()["provider"]) == (200, "local")
    assert answer.json()["price_usd"] == "0.0062"
    assert tasks.asked == [("merit-systems", "1200"), ("local", str(PRICE_ATOMIC + FEE_ATOMIC))]
    assert len({task["jobId"] for task in tasks.seen}) == 1
    assert world.facilitator.moved(wallet.address) == [PRICE_ATOMIC + FEE_ATOMIC]
    assert broker.get(f"/status/{answer.json()['jobId']}").json()["provider"] == "local"


def test_when_all_fail_the_refund_is_owed_once_however_often_it_is_asked_for(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    tasks = world.executor.on_execute = Tasks("merit-systems", "local")
    world.quote.on_quote = sold_by(remote("merit-systems"), remote("local", 9_000, "after"))
    body = new_body()
    headers = paid_for(world, broker, wallet, body)
    for _ in range(3):
        answer = broker.post("/run", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (502, "refund_owed")
        assert answer.json()["refund"] == OWED
        assert "PAYMENT-RESPONSE" in answer.headers
        assert "burns" not in answer.text
    assert len(tasks.seen) == 2
    assert world.facilitator.settles(wallet.address) == 1
    assert broker.get(f"/status/{answer.json()['jobId']}").json()["status"] == "failed"


def test_an_executor_that_is_away_is_not_the_end_of_work_that_is_paid_for(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    tasks = Tasks()
    world.executor.on_execute = lambda task: tasks(task) or Answer(dropped=True)
    world.quote.on_quote = sold_by(remote("merit-systems"), remote("local", 9_000, "after"))
    body = new_body()
    headers = paid_for(world, broker, wallet, body)
    pending = broker.post("/run", json=body, headers=headers)
    assert pending.status_code == 202
    assert {provider for provider, _ in tasks.asked} == {"merit-systems"}
    world.executor.be_honest()
    status = pending.headers["Location"]
    wait_until(lambda: broker.get(status).json()["status"] == "completed", "the work is taken up again")
    again = broker.post("/run", json=body, headers=headers)
    assert (again.status_code, again.json()["provider"]) == (200, "merit-systems")
    assert (world.facilitator.settles(wallet.address), world.states(wallet)) == (1, ["settled"])


@pytest.mark.parametrize("spend", ["99999999", 99999999, None, "-1", "0x10"])
def test_a_customer_does_not_say_what_may_be_spent(
    world: World, broker: httpx.Client, wallet: Wallet, spend: Any
) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    named = {"maxSpendAtomic": spend, "max_spend_atomic": spend, "jobId": "mine", "settle": "after"}
    body = new_body(**named, payload={**new_body(), **named})
    assert broker.post("/run", json=body, headers=paid_for(world, broker, wallet, body)).status_code == 200
    assert tasks.asked == [("merit-systems", str(PRICE_ATOMIC))]
    assert tasks.seen[0]["jobId"] != "mine"


def test_instructions_are_paid_with_the_fee_and_nothing_is_done(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body(options={"fulfilment": "instructions"})
    headers = paid_for(world, broker, wallet, body)
    answer = broker.post("/run", json=body, headers=headers)
    told = answer.json()
    assert (answer.status_code, told["status"]) == (200, "instructions_provided")
    assert (told["provider"], told["price_usd"], told["fee_usd"]) == ("merit-systems", "0.0012", "0.005")
    assert told["instructions"]["request"]["url"] == "https://x.example"
    assert (tasks.seen, world.facilitator.moved(wallet.address)) == ([], [FEE_ATOMIC])
    job = broker.get(f"/status/{told['jobId']}").json()
    assert (job["status"], job["result"]) == ("instructions_provided", told["instructions"])
    assert broker.post("/run", json=body, headers=headers).json() == told


def test_a_payment_for_instructions_buys_no_work(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    tasks = world.executor.on_execute = Tasks()
    world.quote.on_quote = sold_by(remote("merit-systems"))
    body = new_body()
    headers = paid_for(world, broker, wallet, {**body, "options": {"fulfilment": "instructions"}})
    refused = broker.post("/run", json=body, headers=headers)
    assert (refused.status_code, tasks.seen) == (402, [])
