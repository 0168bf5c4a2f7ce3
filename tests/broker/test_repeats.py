"""What may be kept of an answer, and how much of it."""

from typing import Any

import pytest
from starlette.types import Message, Scope

from broker.payments import repeats
from broker.payments.repeats import Answer, Repeats, may_be_told_again
from tests.broker.conftest import FakeClock

ID = b"0123456789abcdef" * 2
HEADERS = {
    b"payment-required": b"e30=",
    b"cache-control": b"no-store",
    b"vary": b"Accept",
    b"content-length": b"80",
    b"content-type": b"application/json",
    b"x-request-id": ID,
}
BODY = b'{"code":"payment_required","requestId":"' + ID + b'","x402Version":1}'


async def told(
    kept: Repeats,
    key: Any,
    *,
    headers: dict[bytes, bytes] | list[tuple[bytes, bytes]] = HEADERS,
    bodies: tuple[bytes, ...] = (BODY,),
    status: int = 402,
    for_ms: int | None = 60_000,
    now_s: float = 1_800_000_000.0,
) -> Answer | None:
    """What is found under `key` after this answer went by; `for_ms` None: the gate did not allow it."""
    scope: Scope = {"type": "http"}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    keeping = kept.keeping(key, scope, send)
    if for_ms is not None:
        may_be_told_again(scope, int(now_s * 1000) + for_ms)
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    messages: list[Message] = [{"type": "http.response.start", "status": status, "headers": pairs}]
    messages += [
        {"type": "http.response.body", "body": body, "more_body": number < len(bodies)}
        for number, body in enumerate(bodies, 1)
    ]
    for message in messages:
        await keeping(message)
    assert sent == messages, "what is kept is also sent, as it was"
    return kept.find(key)


async def test_a_plain_402_that_the_gate_allows_is_kept() -> None:
    assert await told(Repeats(FakeClock()), (b"a",)) is not None


@pytest.mark.parametrize(
    "answer",
    [
        {"for_ms": None},
        {"for_ms": 0},
        {"status": 200},
        {"status": 503},
        {"bodies": (BODY, b"")},
        {"bodies": (BODY[:9], BODY[9:])},
        {"bodies": (BODY.replace(ID, b""),)},
        {"bodies": (BODY + ID,)},
        {"bodies": (BODY + BODY,)},
        {"headers": {**HEADERS, b"set-cookie": b"a=b"}},
        {"headers": {**HEADERS, b"retry-after": b"1"}},
        {"headers": {**HEADERS, b"payment-response": b"e30="}},
        {"headers": {**HEADERS, b"content-encoding": b"gzip"}},
        {"headers": {**HEADERS, b"access-control-allow-origin": b"https://a.example"}},
        {"headers": {**HEADERS, b"content-type": b"text/html"}},
        {"headers": {**HEADERS, b"vary": b"Accept, Cookie"}},
        {"headers": {name: value for name, value in HEADERS.items() if name != b"payment-required"}},
        {"headers": [*HEADERS.items(), (b"vary", b"Cookie")]},
    ],
    ids=str,
)
async def test_no_other_answer_is_kept(answer: dict[str, Any]) -> None:
    kept = Repeats(FakeClock())
    assert await told(kept, (b"a",), **answer) is None
    assert answer.get("for_ms") == 0 or (len(kept), kept.size_bytes) == (0, 0)


async def test_a_verdict_on_a_request_that_nobody_watches_changes_nothing() -> None:
    scope: Scope = {"type": "http"}
    may_be_told_again(scope, 1)
    assert scope == {"type": "http"}


async def test_the_number_of_answers_is_bounded_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeats, "MAX_ENTRIES", 3)
    kept = Repeats(FakeClock())
    for number in range(5):
        assert await told(kept, (b"%d" % number,)) is not None
    assert [kept.find((b"%d" % number,)) is not None for number in range(5)] == [False] * 2 + [True] * 3
    await told(kept, (b"2",))
    await told(kept, (b"5",))
    assert kept.find((b"2",)) is not None, "it was told anew, so another one is the oldest"
    assert len(kept) == 3


async def test_the_bytes_of_requests_and_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_BYTES", 10_000)
    kept = Repeats(FakeClock())
    for number in range(50):
        assert await told(kept, (b"x" * 2000, b"%d" % number, "http", 80)) is not None
        assert kept.size_bytes <= 10_000
    assert 1 < len(kept) < 5
    assert await told(kept, (b"x" * 20_000,)) is None
    assert (len(kept), kept.size_bytes) == (0, 0)


async def test_what_is_over_is_dropped_with_the_next_that_is_kept() -> None:
    clock = FakeClock()
    kept = Repeats(clock)
    for number in range(100):
        await told(kept, (b"%d" % number,))
    assert len(kept) == 100
    clock.now += repeats.MAX_AGE_S
    assert await told(kept, (b"new",)) is not None
    assert len(kept) == 1


def test_the_number_of_requests_that_are_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_SEEN", 3)
    kept = Repeats(FakeClock())
    assert [kept.seen((number,)) for number in (1, 2, 3)] == [False] * 3
    assert [kept.seen((number,)) for number in (4, 4, 1)] == [False, True, False]
