"""A 402 told again is the 402 the gate would tell, to nobody else, and for no longer."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.responses import Response

from broker.payments.paid_route import Call
from broker.payments.repeat_middleware import MAX_BODY_BYTES
from broker.payments.repeats import MAX_AGE_S, SEEN_S
from shared.errors import Unavailable
from tests.broker.shop import BODY, Shop, Told, open_shop, value_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
TTL_S = 30
PER_DAY = 60
"""Of a minute, another one could begin in the middle of a test, and some hits be forgiven."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    settings = {
        "OFFER_TTL_S": str(TTL_S),
        "RATE_LIMIT_PER_IP": f"{PER_DAY}/day",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "CORS_ORIGINS": "https://a.example,https://b.example",
    }
    async with open_shop(tmp_path_factory.mktemp("shop"), **settings) as opened:
        yield opened


@pytest.fixture
def shop(one_shop: Shop) -> Shop:
    one_shop.open_again()
    return one_shop


def accepted(told: Told) -> dict[str, Any]:
    """The v2 requirement, after a look at whether the v1 one asks for the same."""
    required = json.loads(base64.b64decode(value_of(told.headers, b"payment-required")))
    v1, v2 = json.loads(told.body)["accepts"][0], required["accepts"][0]
    assert v1["maxAmountRequired"] == v2["amount"]
    assert v1["resource"] == required["resource"]["url"]
    return {**v2, "resource": v1["resource"]}


def offer_id(told: Told) -> str:
    return str(accepted(told)["extra"]["quoteId"])


async def test_the_answer_told_again_is_the_gates_but_for_the_request_id(shop: Shop) -> None:
    first, again = await shop.ask_twice(), await shop.ask()
    own = await shop.ask(BODY, (b"x-request-id", b"mine-1.b"))
    malformed = await shop.ask(BODY, (b"x-request-id", b'"},{"'))
    ordinary = await shop.ask(BODY, (b"cookie", b"a=b"))
    assert [told.asked_gate for told in (first, again, own, malformed, ordinary)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert first.status == 402
    assert (
        again.without_id == own.without_id == malformed.without_id == ordinary.without_id == first.without_id
    )
    assert [name for name, _ in again.headers] == [name for name, _ in first.headers]
    assert own.id == b"mine-1.b"
    assert len({first.id, again.id, malformed.id, ordinary.id}) == 4
    assert all(len(told.id) == 32 for told in (first, again, malformed, ordinary))


async def test_an_id_that_a_caller_chose_is_told_to_that_caller_alone(shop: Shop) -> None:
    for chosen in (b"USDC", b"Id", b"1", b"payment"):
        first = await shop.ask(BODY, (b"x-request-id", chosen))
        assert (first.id, first.asked_gate) == (chosen, True), "it also stands elsewhere in the answer"
    kept = await shop.ask(BODY, (b"x-request-id", b"mine-1"))
    later = await shop.ask()
    assert (kept.asked_gate, later.asked_gate) == (True, False)
    assert later.without_id == kept.without_id
    assert b"mine-1" not in later.body
    both = await shop.ask(BODY, (b"x-request-id", b"one"), (b"x-request-id", b"two"))
    assert (both.id, both.asked_gate) == (b"one", True)


async def test_it_is_told_again_for_a_second_and_no_longer(shop: Shop) -> None:
    first = await shop.ask_twice()
    shop.clock.now += MAX_AGE_S * 0.99
    assert not (await shop.ask()).asked_gate
    shop.clock.now += MAX_AGE_S * 0.02
    later = await shop.ask()
    assert later.asked_gate
    assert offer_id(later) == offer_id(first)
    shop.clock.now -= 3600
    assert (await shop.ask()).asked_gate, "the clock was set back"


async def test_the_offer_is_renewed_when_it_would_be_and_the_new_price_told_at_once(shop: Shop) -> None:
    first = await shop.ask_twice()
    shop.price_atomic *= 7
    shop.clock.now += TTL_S / 2 - 0.4
    kept = await shop.ask()
    assert kept.asked_gate
    shop.clock.now += 0.39
    last = await shop.ask()
    assert not last.asked_gate
    assert offer_id(last) == offer_id(kept) == offer_id(first)
    shop.clock.now += 0.02
    renewed = await shop.ask()
    assert renewed.asked_gate, "kept for 0.41 s only, but its offer is half over"
    assert offer_id(renewed) != offer_id(first)
    assert int(accepted(renewed)["amount"]) > int(accepted(first)["amount"])


async def test_a_second_after_nothing_can_be_sold_nothing_is_offered_from_memory(shop: Shop) -> None:
    class Full:
        async def answer(self, call: Call) -> Response:
            raise Unavailable("the executor is full")

    assert (await shop.ask_twice()).status == 402
    selling, shop.gate.gate = shop.gate.gate, Full()
    try:
        shop.clock.now += MAX_AGE_S
        assert [(await shop.ask()).status for _ in range(3)] == [503] * 3
    finally:
        shop.gate.gate = selling
    assert (await shop.ask()).status == 402


async def test_what_is_told_again_counts_against_the_rate_limit(shop: Shop) -> None:
    told = [await shop.ask() for _ in range(PER_DAY + 1)]
    assert [one.status for one in told] == [402] * PER_DAY + [429]
    assert sum(one.asked_gate for one in told) == 2
    over = told[-1]
    assert json.loads(over.body)["requestId"].encode() == over.id
    assert int(value_of(over.headers, b"retry-after")) >= 1
    other = await shop.ask(client=("198.18.0.2", 5))
    assert (other.status, other.asked_gate) == (402, False)


async def test_behind_a_trusted_proxy_each_client_is_counted_for_itself(shop: Shop) -> None:
    def forwarded(number: int) -> tuple[bytes, bytes]:
        return (b"x-forwarded-for", b"198.51.100.%d" % number)

    proxy = ("10.0.0.9", 5)
    one = [await shop.ask(BODY, forwarded(1), client=proxy) for _ in range(PER_DAY + 1)]
    assert [told.status for told in one] == [402] * PER_DAY + [429]
    two = await shop.ask(BODY, forwarded(2), client=proxy)
    assert (two.status, two.asked_gate) == (402, False)
    stranger = await shop.ask(BODY, forwarded(1))
    assert (stranger.status, stranger.asked_gate) == (402, False)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (b"x-payment", 400),
        (b"X-PAYMENT", 400),
        (b"x-PaYmEnT", 400),
        (b"payment-signature", 400),
        (b"PAYMENT-SIGNATURE", 400),
        (b"origin", 402),
        (b"cookie", 402),
        (b"authorization", 402),
        (b"expect", 402),
        (b"transfer-encoding", 402),
        (b"content-encoding", 402),
        (b"x-nobody-knows", 402),
    ],
)
async def test_a_request_with_any_other_header_is_the_gates(shop: Shop, name: bytes, status: int) -> None:
    await shop.ask_twice()
    for times in (1, 2):
        told = await shop.ask(BODY, *[(name, b"x")] * times)
        assert (told.status, told.asked_gate) == (status, True)
    assert not (await shop.ask()).asked_gate, "and it did not displace what was kept"


async def test_a_browser_gets_its_page_each_time_and_nobody_else_does(shop: Shop) -> None:
    html = (b"accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    for _ in range(2):
        page = await shop.ask(BODY, html)
        assert page.asked_gate
        assert page.body.startswith(b"<!doctype html>")
    assert (await shop.ask()).asked_gate
    plain = await shop.ask(BODY, (b"accept", b"*/*"))
    assert plain.asked_gate
    assert (await shop.ask()).body.startswith(b"{")


async def test_an_origin_gets_its_own_headers_each_time(shop: Shop) -> None:
    plain = await shop.ask_twice()
    for origin in (b"https://a.example", b"https://b.example"):
        told = await shop.ask(BODY, (b"origin", origin))
        assert told.asked_gate
        assert value_of(told.headers, b"access-control-allow-origin") == origin
    again = await shop.ask()
    assert (again.asked_gate, again.without_id) == (False, plain.without_id)


@pytest.mark.parametrize(
    ("scope", "resource"),
    [
        ({"scheme": "https"}, "https://192.0.2.80:80/run"),
        ({"server": ("192.0.2.81", 8080)}, "http://192.0.2.81:8080/run"),
        ({"server": None}, "http://localhost/run"),
        ({"path": "/execute", "raw_path": b"/execute"}, "http://192.0.2.80/execute"),
        ({"raw_path": b"/%72un"}, "http://192.0.2.80/run"),
        ({"raw_path": None}, "http://192.0.2.80/run"),
        ({"query_string": b"resource=http://evil.example"}, "http://192.0.2.80/run"),
    ],
    ids=str,
)
async def test_another_address_gets_another_answer(shop: Shop, scope: dict[str, Any], resource: str) -> None:
    here = await shop.ask_twice()
    there = await shop.ask(**scope)
    assert (there.status, there.asked_gate) == (402, True)
    assert accepted(there)["resource"] == resource
    again = await shop.ask()
    assert (again.asked_gate, again.without_id) == (False, here.without_id)


@pytest.mark.parametrize("name", [b"host", b"content-type", b"accept", b"x-forwarded-host"])
async def test_a_header_that_might_decide_has_to_be_the_same(shop: Shop, name: bytes) -> None:
    here = await shop.ask_twice()
    there = await shop.ask(BODY, (name, b"evil.example"))
    assert there.asked_gate
    assert b"evil.example" not in there.body
    again = await shop.ask()
    assert (again.asked_gate, again.without_id) == (False, here.without_id)


async def test_the_public_address_is_told_whatever_the_socket(tmp_path: Path) -> None:
    async with open_shop(tmp_path, PUBLIC_BASE_URL="https://shop.example") as shop:
        for server in (("192.0.2.1", 1), ("192.0.2.2", 2)):
            told = [await shop.ask(server=server) for _ in range(3)]
            assert [one.asked_gate for one in told] == [True, True, False]
            assert {accepted(one)["resource"] for one in told} == {"https://shop.example/run"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post"])
async def test_another_method_gets_no_bill_from_memory(shop: Shop, method: str) -> None:
    await shop.ask_twice()
    told = await shop.ask(method=method)
    assert told.status != 402
    assert not any(name == b"payment-required" for name, _ in told.headers)


async def test_other_bytes_of_the_same_meaning_go_to_the_gate_and_get_the_same_offer(shop: Shop) -> None:
    first = await shop.ask_twice()
    for body in (b'{"code":"print(1)"}', BODY + b" ", b'{"language": "python", "code": "print\\u00281)"}'):
        told = await shop.ask(body)
        assert (told.status, told.asked_gate) == (402, True)
        assert accepted(told) == accepted(first)


async def test_another_cost_limit_in_the_body_is_heard(shop: Shop) -> None:
    assert (await shop.ask()).status == 402
    refused = await shop.ask(b'{"code": "print(1)", "maxCostUsd": "0.000001"}')
    assert (refused.status, refused.asked_gate) == (400, True)


def parts(*bodies: bytes) -> list[dict[str, Any]]:
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": body, "more_body": number < last}
        for number, body in enumerate(bodies)
    ]


async def test_a_body_in_parts_reaches_the_gate_whole(shop: Shop) -> None:
    first = await shop.ask_twice()
    for body in (parts(BODY[:5], BODY[5:]), parts(b"", BODY), parts(BODY, b""), parts(*[b""] * 9, BODY)):
        told = await shop.ask(body)
        assert told.asked_gate
        assert told.without_id == first.without_id


async def test_a_length_that_is_not_the_bodys_is_not_answered_from_memory(shop: Shop) -> None:
    await shop.ask_twice()
    for length in (0, 1, len(BODY) - 1, len(BODY) + 1, MAX_BODY_BYTES + 1):
        assert (await shop.ask(length=length)).asked_gate
    assert (await shop.ask(BODY, (b"content-length", b"%d" % len(BODY)))).asked_gate


async def test_a_client_that_hangs_up_gets_nothing(shop: Shop) -> None:
    await shop.ask_twice()
    gone = {"type": "http.disconnect"}
    for messages in ([gone], [*parts(BODY[:5], b"")[:1], gone]):
        told = await shop.ask(messages, length=len(BODY))
        assert (told.status, told.asked_gate) == (0, False)


async def test_a_request_that_came_once_is_not_kept_and_one_of_a_minute_ago_is_forgotten(shop: Shop) -> None:
    assert [(await shop.ask()).asked_gate for _ in range(3)] == [True, True, False]
    shop.clock.now += MAX_AGE_S
    assert [(await shop.ask()).asked_gate for _ in range(2)] == [True, False]
    shop.clock.now += SEEN_S
    assert [(await shop.ask()).asked_gate for _ in range(3)] == [True, True, False]


async def test_a_large_body_is_the_gates_each_time(shop: Shop) -> None:
    for size, from_memory in ((MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)):
        body = b'{"code": "' + b"#" * (size - 12) + b'"}'
        assert len(body) == size
        told = [await shop.ask(body) for _ in range(3)]
        assert [one.status for one in told] == [402] * 3
        assert told[2].asked_gate is not from_memory


@pytest.mark.parametrize("body", [b"", b"{}", b"{", b'{"code": 1}'])
async def test_what_is_not_a_bill_for_this_request_is_never_told_again(shop: Shop, body: bytes) -> None:
    told = [await shop.ask(body) for _ in range(3)]
    assert all(one.asked_gate and one.without_id == told[0].without_id for one in told)
