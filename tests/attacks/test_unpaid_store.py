"""Content whose payment comes to nothing: it is taken back, and what others paid for stays."""

import secrets
import sqlite3
import threading
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.attacks.facilitator import Asked, Facilitator
from tests.attacks.stores import Untouched
from tests.attacks.world import wait_until
from tests.flows.test_store import cid_of, kept
from tests.support.services import Stack
from tests.support.standin import Answer, Script, always
from tests.support.wallets import Wallet, new_wallet


@pytest.fixture
def broker(store: httpx.Client) -> httpx.Client:
    return store


def refused(asked: Asked) -> Answer:
    refusal = {"success": False, "errorReason": "insufficient_funds", "transaction": ""}
    return Answer.of({**refusal, "network": asked.network, "payer": asked.payer})


def paid(broker: httpx.Client, wallet: Wallet, request: dict[str, Any]) -> httpx.Response:
    challenge = broker.post("/store", **request)
    assert challenge.status_code == 402, challenge.text
    return broker.post("/store", headers=wallet.pay_v2(challenge), **request)


def upload(content: bytes) -> dict[str, Any]:
    return {"data": {"permanent": "true"}, "files": {"file": ("x.bin", content)}}


def undone(host: Stack) -> int:
    """Jobs that still have something to be taken back."""
    with closing(sqlite3.connect(f"file:{host.home / 'broker.sqlite'}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM jobs WHERE undo_due IS NOT NULL").fetchone()[0])


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_a_store_whose_settlement_is_refused_leaves_nothing_and_can_be_paid_anew(
    host: Stack, broker: httpx.Client, facilitator: Facilitator, form: str
) -> None:
    content, wallet = secrets.token_hex(200_000).encode(), new_wallet()
    request = upload(content) if form == "multipart" else {"json": {"data": content.decode()}}
    before = kept(host)
    facilitator.on_settle = refused
    answer = paid(broker, wallet, request)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_funds")
    assert cid_of(content) not in answer.text
    wait_until(lambda: broker.get(f"/files/{cid_of(content)}").status_code == 404, "it is taken back")
    wait_until(lambda: kept(host) == before, "its bytes are gone")
    wait_until(lambda: undone(host) == 0, "the ledger knows")
    facilitator.on_settle = None
    again = paid(broker, wallet, request)
    assert again.status_code == 200, again.text
    assert broker.get(again.json()["result"]["url"]).content == content
    assert len(facilitator.moved(wallet.address)) == 1


def test_what_another_paid_for_stays(host: Stack, broker: httpx.Client, facilitator: Facilitator) -> None:
    content = secrets.token_bytes(300_000)
    first = paid(broker, new_wallet(), upload(content))
    assert first.status_code == 200, first.text
    files = kept(host)
    facilitator.on_settle = refused
    assert paid(broker, new_wallet(), upload(content)).status_code == 402
    wait_until(lambda: undone(host) == 0, "the second one is taken back")
    assert kept(host) == files
    assert broker.get(first.json()["result"]["url"]).content == content


def test_it_is_taken_back_also_when_the_executor_is_down_at_that_moment(
    host: Stack, broker: httpx.Client, facilitator: Facilitator
) -> None:
    content = secrets.token_bytes(300_000)
    before = kept(host)
    down = threading.Event()

    def refused_while_down(asked: Asked) -> Answer:
        host.processes["executor"].kill()
        down.set()
        return refused(asked)

    facilitator.on_settle = refused_while_down
    answer = paid(broker, new_wallet(), upload(content))
    assert answer.status_code in {402, 503} and down.is_set()
    wait_until(lambda: undone(host) == 1, "it is remembered")
    host.launch("executor").wait_ready()
    wait_until(lambda: undone(host) == 0, "it is taken back", 40)
    wait_until(lambda: kept(host) == before, "its bytes are gone")


def test_a_stranger_without_a_good_payment_gets_no_byte_onto_the_disk(
    host: Stack, broker: httpx.Client, facilitator: Facilitator
) -> None:
    before, request = kept(host), upload(secrets.token_bytes(400_000))
    challenge = broker.post("/store", **request)
    good = new_wallet()
    forged = new_wallet().pay_v2(challenge)["PAYMENT-SIGNATURE"]
    another = {"to": new_wallet().address}
    for headers, status in (
        ({"PAYMENT-SIGNATURE": forged[:-8] + "AAAAAAA="}, 400),
        (good.pay_v2(challenge, **another), 400),
    ):
        answer = broker.post("/store", headers=headers, **request)
        assert answer.status_code == status, answer.text
    # A payment for less: the content was looked at, and is not kept.
    cheap = good.pay_v2(challenge, value="1")
    assert broker.post("/store", headers=cheap, **request).status_code in {400, 402}
    wait_until(lambda: kept(host) == before, "nothing is left")
    assert facilitator.settles(good.address) == 0


def test_more_content_than_was_priced_is_not_stored(broker: httpx.Client) -> None:
    """The offer goes by the length of the body: a longer one is another request."""
    wallet = new_wallet()
    small, large = upload(secrets.token_bytes(1000)), upload(secrets.token_bytes(500_000))
    headers = wallet.pay_v2(broker.post("/store", **small))
    answer = broker.post("/store", headers=headers, **large)
    assert (answer.status_code, answer.json()["code"]) == (402, "offer_expired")


def without_funds(asked: Asked) -> Answer:
    return Answer.of({"isValid": False, "invalidReason": "insufficient_funds", "payer": asked.payer})


@pytest.mark.parametrize("form", ["json", "multipart"])
@pytest.mark.parametrize("answer", [without_funds, always(Answer(503))], ids=["without funds", "down"])
def test_an_upload_whose_payment_is_not_good_does_not_wait_for_its_hour_on_our_disk(
    host: Stack, broker: httpx.Client, facilitator: Facilitator, form: str, answer: Script
) -> None:
    content, before = secrets.token_hex(100_000).encode(), Untouched(host)
    request = upload(content) if form == "multipart" else {"json": {"data": content.decode()}}
    facilitator.on_verify = answer
    assert paid(broker, new_wallet(), request).status_code == (402 if answer is without_funds else 503)
    before.check()
