"""Unpaid answers that are told again from memory: not to be poisoned, not a way around anything."""

import json

import httpx
import pytest

from tests.attacks.neighbours import FEE_ATOMIC, PRICE_ATOMIC
from tests.attacks.world import Heard, World, challenge_of, http_request, new_body, price_of
from tests.support.wallets import Wallet

EVIL = "evil.example"
POISONS: dict[str, dict[str, object]] = {
    "Host": {"host": EVIL},
    "two Hosts": {"headers": [("Host", EVIL)]},
    "X-Forwarded-Host": {"headers": [("X-Forwarded-Host", EVIL), ("X-Forwarded-Proto", "https")]},
    "Forwarded": {"headers": [("Forwarded", f"host={EVIL};proto=https")]},
    "X-Original-URL": {"headers": [("X-Original-URL", f"http://{EVIL}/run")]},
    "query": {"target": f"/run?resource=http://{EVIL}"},
    "absolute form": {"target": f"http://{EVIL}/run"},
    "double slash": {"target": f"//{EVIL}/run"},
    "encoded letter": {"target": "/%72un"},
    "other route": {"target": "/execute"},
    "Accept": {"headers": [("Accept", f"text/html,{EVIL}")]},
    "Origin": {"headers": [("Origin", f"https://{EVIL}")]},
    "request id": {"headers": [("X-Request-ID", EVIL)]},
    "request id that is a price": {"headers": [("X-Request-ID", str(PRICE_ATOMIC + FEE_ATOMIC))]},
    "request id with quotes": {"headers": [("X-Request-ID", f'","payTo":"{EVIL}')]},
    "payment": {"headers": [("X-PAYMENT", EVIL)]},
}


@pytest.mark.parametrize("poison", POISONS)
def test_nobody_is_told_what_somebody_else_put_into_the_question(
    world: World, broker: httpx.Client, poison: str
) -> None:
    """The same body, asked twice in a strange way first; the honest client's answer knows nothing of it."""
    how = dict(POISONS[poison])
    headers: list[tuple[str, str]] = how.pop("headers", [])  # type: ignore[assignment]
    clean, body = new_body(), new_body()
    content = json.dumps(body).encode()
    for _ in range(2):
        world.raw(http_request(content, *headers, **how))  # type: ignore[arg-type]
    expected = challenge_of(broker, clean)
    for _ in range(3):
        told = broker.post("/run", content=content, headers={"Content-Type": "application/json"})
        assert told.status_code == 402
        assert EVIL not in told.text + str(told.headers)
        assert told.json()["accepts"] == expected.json()["accepts"]
        assert told.headers.keys() == expected.headers.keys()
        assert told.json()["requestId"] == told.headers["X-Request-ID"]
    assert world.runs(body) == 0


@pytest.mark.parametrize(
    "name", ["X-PAYMENT", "x-payment", "X-pAyMeNt", "PAYMENT-SIGNATURE", "Payment-signature"]
)
def test_a_payment_in_any_spelling_is_looked_at_though_the_bill_is_in_memory(
    world: World, broker: httpx.Client, name: str
) -> None:
    body = new_body()
    for _ in range(3):
        challenge_of(broker, body)
        status, _, text = world.raw(http_request(body, (name, "e30=")))
        assert (status, json.loads(text)["code"]) == (400, "invalid_payment")


def test_the_bill_in_memory_can_be_paid_and_stays_unpaid_for_others(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    for _ in range(2):
        challenge_of(broker, body)
    headers = wallet.pay_v2(challenge_of(broker, body))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    assert challenge_of(broker, body).json()["code"] == "payment_required"
    world.assert_sold_once(wallet, body)


def test_a_flood_of_one_request_is_slowed_down_though_it_is_answered_from_memory(world: World) -> None:
    """An address may ask 1,200 times a minute."""
    request = http_request(new_body(), ("Connection", "keep-alive"))

    def refused(answers: list[Heard]) -> int:
        return sum(status == 429 for status, _, _ in answers)

    # At the turn of a minute more may pass.
    answers = world.pipelined([request] * 3_900, lambda answers: refused(answers) >= 50)
    assert {status for status, _, _ in answers} == {402, 429}
    assert refused(answers) >= 50
    ids = [headers["x-request-id"] for _, headers, _ in answers]
    assert len(set(ids)) == len(ids)
    assert all(json.loads(text)["requestId"] == id_ for id_, (_, _, text) in zip(ids, answers, strict=True))


def test_a_body_that_comes_in_pieces_or_chunks_is_read_to_its_end(world: World, broker: httpx.Client) -> None:
    """Its beginning is another request, whose bill is in memory."""
    short = new_body()
    content = json.dumps(short).encode()
    price, _ = (price_of(challenge_of(broker, short)) for _ in range(2))
    longer = content + b" " * 10 + b"}"
    whole = http_request(longer)
    chunked = http_request(content).replace(
        b"Content-Length: %d" % len(content), b"Transfer-Encoding: chunked"
    )
    head, _, _ = chunked.partition(b"\r\n\r\n")
    with world.connection() as connection:
        connection.sendall(whole[:-11])
        connection.sendall(whole[-11:])
        assert connection.recv(12) == b"HTTP/1.1 400"
    for ending, expected in ((b"0\r\n\r\n", 402), (b"1\r\n}\r\n0\r\n\r\n", 400)):
        sent = head + b"\r\n\r\n%x\r\n%s\r\n%s" % (len(content), content, ending)
        status, _, text = world.raw(sent)
        assert status == expected
        assert expected == 400 or json.loads(text)["accepts"][0]["maxAmountRequired"] == str(price)
    assert world.runs(short) == 0


def test_a_client_that_waits_to_be_told_to_go_on_gets_the_whole_answer(
    world: World, broker: httpx.Client
) -> None:
    body = new_body()
    for _ in range(2):
        challenge_of(broker, body)
    head, _, content = http_request(body, ("Expect", "100-continue")).partition(b"\r\n\r\n")
    with world.connection() as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        connection.sendall(content)
        assert connection.recv(12) == b"HTTP/1.1 402"
