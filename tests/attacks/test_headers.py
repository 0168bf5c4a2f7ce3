"""Headers that are doubled, huge, nested, forged or simply mad."""

import base64
import gzip
import json
import time

import httpx
import pytest

from tests.attacks.world import World, challenge_of, closed, http_request, new_body, opened
from tests.support.wallets import Wallet, new_wallet


def test_both_payment_headers_at_once_are_malformed(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    both = {**wallet.pay_v1(challenge), **wallet.pay_v2(challenge)}
    answer = broker.post("/run", json=body, headers=both)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize(
    "spellings", [("X-PAYMENT", "X-PAYMENT"), ("X-PAYMENT", "x-payment"), ("X-Payment", "X-PAYMENT")]
)
def test_one_payment_header_sent_twice_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, spellings: tuple[str, str]
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    values = [wallet.pay_v1(challenge)["X-PAYMENT"], new_wallet().pay_v1(challenge)["X-PAYMENT"]]
    headers = zip(spellings, values, strict=True)
    status, _, text = world.raw(http_request(body, *headers))
    assert (status, json.loads(text)["code"]) == (400, "invalid_payment")
    world.assert_nothing_sold(wallet, body)


def test_an_empty_payment_header_beside_a_good_one_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    (good,) = wallet.pay_v1(challenge_of(broker, body)).items()
    for empty in (("X-PAYMENT", ""), ("PAYMENT-SIGNATURE", "")):
        status, _, _ = world.raw(http_request(body, empty, good))
        assert status == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("version", [1, 2])
def test_a_payment_in_the_other_versions_header_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet, version: int
) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    (value,) = (wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)).values()
    name = "PAYMENT-SIGNATURE" if version == 1 else "X-PAYMENT"
    assert broker.post("/run", json=body, headers={name: value}).status_code == 400
    world.assert_nothing_sold(wallet, body)


@pytest.mark.parametrize("name", ["X-PAYMENT", "PAYMENT-SIGNATURE"])
@pytest.mark.parametrize("size", [17_000, 200_000])
def test_a_payment_header_that_is_too_large_is_a_431(world: World, name: str, size: int) -> None:
    body = new_body()
    status, _, _ = world.raw(http_request(body, (name, "A" * size)))
    assert status == 431
    assert world.runs(body) == 0


def test_200_kb_of_another_header_do_not_hurt(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    status, _, _ = world.raw(http_request(body, ("X-Junk", "A" * 200_000)))
    assert status in {0, 400, 402, 431}
    assert world.runs(body) == 0
    assert (
        broker.post("/run", json=body, headers=wallet.pay_v1(challenge_of(broker, body))).status_code == 200
    )


def test_five_thousand_headers_do_not_hurt(world: World, broker: httpx.Client) -> None:
    body = new_body()
    began = time.monotonic()
    status, _, _ = world.raw(http_request(body, *((f"X-Junk-{number}", "x") for number in range(5_000))))
    assert status in {0, 400, 402, 431}
    assert time.monotonic() - began < 20
    assert world.runs(body) == 0
    challenge_of(broker, body)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize("encoded", [True, False], ids=["base64", "raw"])
def test_a_payment_header_nested_very_deep_is_malformed(
    world: World, broker: httpx.Client, opening: str, encoded: bool
) -> None:
    nested = ('{"x402Version":1,"payload":' + opening * (11_000 // len(opening))).encode()
    value = base64.b64encode(nested).decode() if encoded else nested.decode()
    answer = broker.post("/run", json=new_body(), headers={"X-PAYMENT": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_payment")


def test_an_accepted_nested_very_deep_is_malformed(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Deep enough to trouble whoever copies or prints it, and still within 16 KB."""
    body = new_body()
    text = json.dumps(opened(wallet.pay_v2(challenge_of(broker, body))))
    for name in ("resource", "extensions", "payload"):
        deep = '{"a":' * 900 + "1" + "}" * 900
        value = base64.b64encode((text[:-1] + f', "{name}": {deep}}}').encode()).decode()
        answer = broker.post("/run", json=body, headers={"PAYMENT-SIGNATURE": value})
        assert answer.status_code in {200, 400}, (name, answer.text)
        assert world.runs(body) <= 1


def test_a_body_50000_deep_is_malformed(world: World, broker: httpx.Client) -> None:
    for content in (b"[" * 50_000, b'{"code":' * 50_000, b'{"code": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"):
        answer = broker.post("/run", content=content)
        assert (answer.status_code, answer.json()["success"]) == (400, False)


def test_a_body_just_shallow_enough_to_parse_is_malformed_too(world: World, broker: httpx.Client) -> None:
    for depth in (300, 900, 970):
        nested = b'{"a":' * depth + b"1" + b"}" * depth
        for name in (b"code", b"env", b"files", b"payload", b"meta"):
            answer = broker.post("/run", content=b'{"' + name + b'": ' + nested + b"}")
            assert answer.status_code in {400, 422}, (depth, name, answer.text)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "=",
        "A",
        "AAA=A",
        "e30",
        "e30=",
        "bnVsbA==",
        "W10=",
        "\xff\xfe",
        "e30=\x01",
        "{",
        "{}",
        '{"x402Version":1}',
        "-_-_",
        "eyJ4NDAyVmVyc2lvbiI6MX0",
        "null",
        "H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA==",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("name", ["X-PAYMENT", "PAYMENT-SIGNATURE"])
def test_a_payment_header_that_is_no_payment_is_malformed(world: World, name: str, value: str) -> None:
    body = new_body()
    status, _, _ = world.raw(http_request(body, (name, value)))
    assert status == 400
    assert world.runs(body) == 0


def test_repeated_keys_in_a_payment_are_judged_by_what_is_settled(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    """Two values for one key: whoever reads the first and whoever reads the last must not both be served."""
    body = new_body()
    paid = json.dumps(opened(wallet.pay_v1(challenge_of(broker, body))))
    price = json.loads(paid)["payload"]["authorization"]["value"]
    doubled = paid.replace(f'"value": "{price}"', f'"value": "{price}", "value": "1"')
    assert doubled != paid
    assert broker.post("/run", json=body, headers={"X-PAYMENT": doubled}).status_code == 400
    world.assert_nothing_sold(wallet, body)


def test_a_spoofed_host_and_forwarded_headers_are_not_believed(world: World, broker: httpx.Client) -> None:
    body = new_body()
    honest = challenge_of(broker, body).json()["accepts"][0]["resource"]
    spoofed = (
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "444"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Host", "evil.example"),
    )
    status, head, text = world.raw(http_request(body, *spoofed, host="evil.example"))
    assert status == 402
    assert json.loads(text)["accepts"][0]["resource"] == honest
    row = next(row for row in head.split("\r\n") if row.lower().startswith("payment-required:"))
    required = base64.b64decode(row.split(": ", 1)[1]).decode()
    assert json.loads(required)["resource"]["url"] == honest
    assert "evil" not in text + required + head


def test_a_query_string_is_not_copied_into_the_challenge(world: World, broker: httpx.Client) -> None:
    answer = broker.post("/run?token=hunter2&x=<script>", json=new_body())
    assert answer.status_code == 402
    assert "hunter2" not in answer.text
    assert b"hunter2" not in base64.b64decode(answer.headers["PAYMENT-REQUIRED"])


@pytest.mark.parametrize(
    "label", ["0x" + "ab" * 20, "x" * 4_000, "\xff\xfe", "<script>", "' OR 1=1"], ids=ascii
)
def test_the_label_of_the_caller_is_never_its_identity(
    world: World, broker: httpx.Client, wallet: Wallet, label: str
) -> None:
    body = new_body()
    (header,) = wallet.pay_v1(challenge_of(broker, body)).items()
    status, _, text = world.raw(http_request(body, header, ("x-wallet", label)))
    assert status == 200, text
    job = broker.get(f"/status/{json.loads(text)['jobId']}").json()
    assert job["requester"] == wallet.address.lower()
    world.assert_sold_once(wallet, body)


@pytest.mark.parametrize("given", ["a b", "x" * 65, "\xe9", "<script>", "../../etc", "a%0d%0ab"], ids=ascii)
def test_a_forged_request_id_is_replaced(world: World, given: str) -> None:
    status, head, text = world.raw(http_request(new_body(), ("X-Request-ID", given)))
    assert status == 402
    assert given not in head
    assert given not in text


def test_a_compressed_bomb_is_no_json(world: World, broker: httpx.Client) -> None:
    bomb = gzip.compress(b'{"code": "' + b"a" * 50_000_000 + b'"}', 1)
    answer = broker.post("/run", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code in {400, 415}


@pytest.mark.parametrize("length", ["-1", "1e3", "+10", "0x10", "99999999999999999999", "10, 10", "ten"])
def test_a_bad_content_length_is_refused(world: World, length: str) -> None:
    request = f"POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode() + b'{"code": "1"}'
    status, _, _ = world.raw(request, shut=True)
    assert status in {0, 400, 413}


def test_a_challenge_and_a_sale_are_never_cached(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    challenge = challenge_of(broker, body)
    sale = broker.post("/run", json=body, headers=wallet.pay_v2(challenge))
    replay = broker.post("/run", json=body, headers=closed(opened(wallet.pay_v2(challenge))))
    assert {answer.headers["Cache-Control"] for answer in (challenge, sale, replay)} == {"no-store"}
