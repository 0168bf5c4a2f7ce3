"""What is said to messages that nobody has paid for, and how the gate's answers are told."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from broker.a2a import tasks
from broker.a2a.tasks import LATE_MS
from broker.payments.paid_route import Call
from broker.routes.a2a import MAX_MESSAGE_BYTES
from shared.errors import GalaksioError, Unavailable
from tests.broker.a2a.agent import payment_for, payment_submitted, task_request
from tests.broker.shop import Shop, Told, open_shop
from tests.support.wallets import new_wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
TTL_S = 300
RUN = {"taskType": "run", "code": "print(1)"}
RECEIPT = {"success": True, "transaction": "0x1", "network": "base-sepolia", "payer": "0x2"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    limits = {"RATE_LIMIT_PER_IP": "1000000/minute", "RATE_LIMIT_PER_PAYER": "1000000/minute"}
    async with open_shop(tmp_path_factory.mktemp("shop"), OFFER_TTL_S=str(TTL_S), **limits) as opened:
        yield opened


async def say(shop: Shop, message: Any, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to `message`, which is sent as it is when it is bytes."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    told = await shop.ask(body, *headers, path="/a2a/message", raw_path=b"/a2a/message")
    answer: dict[str, Any] = json.loads(told.body)
    return told.status, answer


async def look(shop: Shop, job_id: str, name: str = "status") -> Told:
    path = f"/{name}/{job_id}"
    return await shop.ask(b"", method="GET", path=path, raw_path=path.encode())


async def asked(shop: Shop, payload: dict[str, Any]) -> dict[str, Any]:
    status, answer = await say(shop, task_request(payload))
    assert (status, answer["type"]) == (200, "payment_required"), answer
    return answer


async def test_a_task_is_answered_with_what_it_costs_in_both_versions(shop: Shop) -> None:
    answer = await asked(shop, RUN)
    assert (answer["agent_id"], answer["a2a_version"]) == ("galaksio-broker", "0.1")
    payload, meta = answer["payload"], answer["meta"]
    assert (payload["x402Version"], payload["error"]) == (1, "payment required")
    (v1,) = payload["accepts"]
    (v2,) = json.loads(base64.b64decode(meta["paymentRequired"]))["accepts"]
    assert v1["maxAmountRequired"] == v2["amount"] == str(shop.price_atomic + 5000)
    assert None not in v1.values()
    assert meta["statusUrl"].endswith(f"/status/{meta['jobId']}")
    assert meta["expiresAt"] == "2027-01-15T08:05:00.000Z"


async def test_it_costs_what_the_route_says(shop: Shop) -> None:
    by_message = await asked(shop, {"taskType": "execute", "code": "print(2)"})
    by_route = await shop.ask(b'{"code": "print(2)"}')
    assert json.loads(by_route.body)["accepts"] == by_message["payload"]["accepts"]
    assert dict(by_route.headers)[b"payment-required"].decode() == by_message["meta"]["paymentRequired"]


@pytest.mark.parametrize(
    ("payload", "route"),
    [
        ({"code": "x"}, "/run"),
        *(({"taskType": name, "code": "x"}, "/run") for name in ("run", "compute", "execute")),
        ({"operation": "run", "code": "x"}, "/run"),
        ({"task_type": "run", "payload": {"code": "x"}}, "/run"),
        ({"task": {"taskType": "store", "data": {"any": "json"}}}, "/store"),
        ({"task": {"operation": "storage", "data": {"url": "https://example.org/f"}}}, "/store"),
        ({"taskType": "storage", "operation": "store", "fileInline": "AAAA"}, "/store"),
        ({"operation": "cache"}, "/cache"),
    ],
)
async def test_a_task_may_be_worded_in_each_of_these_ways(
    shop: Shop, payload: dict[str, Any], route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted(shop, monkeypatch, GalaksioError("enough", status=418))
    status, _ = await say(shop, task_request(payload))
    assert status == 418
    assert seen[0].route == route
    assert seen[0].headers.keys() == ["x-wallet"]
    seen[0].operation.parse(seen[0].body, {})


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "task_type_required"),
        ({"data": "x"}, "task_type_required"),
        ({"taskType": "mine", "code": "x"}, "unknown_task_type"),
        ({"taskType": ["run"], "code": "x"}, "unknown_task_type"),
        ({"taskType": "cache", "operation": "delete"}, "unknown_task_type"),
        ({"taskType": "run", "operation": "store", "code": "x"}, "unknown_task_type"),
        ({"taskType": "topup", "cacheId": "x"}, "unknown_task_type"),
        ({"taskType": "run"}, "code_required"),
        ({"taskType": "run", "code": "x", "language": "cobol"}, "unknown_language"),
        ({"taskType": "store"}, "data_required"),
        ({"taskType": "store", "upload": "somebody-elses"}, "data_required"),
        ({"taskType": "cache", "region": "a b"}, "invalid_request"),
    ],
)
async def test_a_malformed_task_fails_with_the_routes_own_words(
    shop: Shop, payload: dict[str, Any], code: str
) -> None:
    status, answer = await say(shop, task_request(payload))
    assert (status, answer["type"], answer["code"]) == (400, "task_failed", code)
    assert answer["payload"]["code"] == code
    assert {"error", "success", "message", "detail", "requestId"} <= answer.keys()
    assert answer["meta"] == {}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"task_request"',
        b"[" * 100_000,
        b'{"type": NaN}',
        b"\xff",
        {},
        {"type": 7, "payload": {}},
        {"type": "", "payload": {}},
        {"type": "task_request"},
        {"type": "task_request", "payload": None},
        {"type": "task_request", "payload": "run"},
        {"type": "task_request", "payload": {}, "meta": []},
        {"type": "task_request", "payload": {}, "agent_id": {"x": 1}},
        {"type": "task_request", "payload": {}, "agent_id": "x" * 1025},
        {"type": "payment_submitted", "payload": {}},
        {"type": "payment_submitted", "meta": {"jobId": "x"}},
        {"type": "payment_submitted", "meta": {"jobId": 7, "payment": {}}},
        {"type": "payment_submitted", "meta": {"payment": {}}},
        {"type": "payment_submitted", "meta": {"jobId": "x", "payment": {}, "xPayment": {}}},
    ],
)
async def test_what_is_no_envelope_is_said_to_be_none(shop: Shop, message: Any) -> None:
    status, answer = await say(shop, message)
    assert (status, answer["error"], answer["code"]) == (400, *["invalid-a2a-envelope"] * 2)
    assert answer["success"] is False
    assert answer["message"] not in {"", "invalid-a2a-envelope"}


async def test_another_type_is_said_to_be_unknown(shop: Shop) -> None:
    for kind in ("task_cancel", "payment_required", "TASK_REQUEST", "x" * 1000):
        status, answer = await say(shop, {"type": kind, "payload": {}})
        assert (status, answer["error"]) == (400, "unsupported-a2a-type")


NESTING = [
    '{"type": "task_request", "payload": {"code": "x", "files": %s}}',
    '{"type": "task_request", "payload": {"taskType": "store", "data": %s}}',
    '{"type": "payment_submitted", "meta": {"jobId": "x", "payment": {"x402Version": 1, "y": %s}}}',
    '{"type": "payment_submitted", "meta": {"jobId": "x", "payment": "{\\"x402Version\\": 1, \\"y\\": %s}"}}',
]


@pytest.mark.parametrize("message", NESTING)
async def test_what_is_just_shallow_enough_to_be_read_is_a_fault_of_the_sender(
    shop: Shop, message: str
) -> None:
    """Whoever writes it down again may be deeper in the stack than who read it."""
    read = 0
    for depth in range(990, 0, -1):
        status, answer = await say(shop, (message % ("[" * depth + "]" * depth)).encode())
        assert status in {200, 400, 404}, (depth, answer)
        read += answer["code"] not in {"invalid-a2a-envelope", "invalid_payment"} if status != 200 else 1
        if read == 12:
            return
    pytest.fail("none of them was read")


async def test_a_message_over_its_limit_is_a_413(shop: Shop) -> None:
    filled = json.dumps(task_request({"code": "#" * MAX_MESSAGE_BYTES})).encode()
    assert (await say(shop, filled))[0] == 413
    fits = json.dumps(task_request({"code": ""})).encode()
    fits = fits.replace(b'""', b'"' + b"#" * (MAX_MESSAGE_BYTES - len(fits)) + b'"')
    assert (len(fits), (await say(shop, fits))[0]) == (MAX_MESSAGE_BYTES, 200)


async def test_messages_are_counted_like_other_requests(tmp_path: Path) -> None:
    async with open_shop(tmp_path, RATE_LIMIT_PER_IP="2/day") as limited:
        assert [(await say(limited, b""))[0] for _ in range(3)] == [400, 400, 429]


async def test_one_address_that_asks_and_never_pays_keeps_no_other_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_UNPAID", tasks.SHARE)
    path, message = "/a2a/message", json.dumps(task_request(RUN)).encode()
    async with open_shop(tmp_path) as shop:
        told = [
            json.loads((await shop.ask(message, path=path, raw_path=path.encode(), client=who)).body)
            for who in (("2001:db8::1", 1), ("2001:db8::2", 2), ("2001:db8:1::1", 3))
        ]
    assert [answer["type"] for answer in told] == ["payment_required", "task_failed", "payment_required"]
    assert told[1]["code"] == "too_many_tasks"


async def test_payment_headers_are_not_read(shop: Shop) -> None:
    status, answer = await say(shop, task_request(RUN), (b"x-payment", b"rubbish"), (b"accept", b"text/html"))
    assert (status, answer["type"]) == (200, "payment_required")


@pytest.mark.parametrize(
    ("payment", "status", "code"),
    [
        ("nonsense", 400, "invalid_payment"),
        ("{", 400, "invalid_payment"),
        ("{" + '"a":{' * 20_000, 400, "invalid_payment"),
        ("W10=", 400, "invalid_payment"),
        (7, 400, "invalid_payment"),
        ([], 400, "invalid_payment"),
        ({}, 400, "invalid_payment"),
        ({"x402Version": True}, 400, "invalid_payment"),
        ({"x402Version": 3}, 400, "invalid_payment"),
        ({"x402Version": 1}, 400, "invalid_payment"),
        ({"x402Version": 2, "accepted": {"scheme": "\ud800"}}, 400, "invalid_payment"),
        ({"x402Version": 1, "padding": "x" * 17_000}, 431, "payment_header_too_large"),
    ],
)
async def test_rubbish_for_a_payment_is_refused_and_the_task_is_still_to_be_had(
    shop: Shop, payment: Any, status: int, code: str
) -> None:
    required = await asked(shop, RUN)
    said, answer = await say(shop, payment_submitted(required["meta"]["jobId"], payment))
    assert (said, answer["type"], answer["code"]) == (status, "task_failed", code)
    kept = await shop.app.state.a2a.tasks.find(required["meta"]["jobId"])
    assert kept.claim is None


async def test_an_unknown_task_cannot_be_paid_for(shop: Shop) -> None:
    required = await asked(shop, RUN)
    payment = payment_for(required, new_wallet(), 2)
    for guess in ("0" * 36, required["meta"]["jobId"][:-1] + "x", "\x00", "\ud800", ""):
        before = shop.gate.asked
        status, answer = await say(shop, payment_submitted(guess, payment))
        assert (status, answer["type"], answer["error"]) == (404, "task_failed", "not-found")
        assert shop.gate.asked == before


async def test_no_id_is_too_strange_to_be_looked_up(tmp_path: Path, postgres_url: str) -> None:
    """Postgres takes no NUL in a text."""
    async with open_shop(tmp_path, DATABASE_URL=postgres_url) as on_postgres:
        required = await asked(on_postgres, RUN)
        assert (await look(on_postgres, required["meta"]["jobId"])).status == 200
        payment = payment_for(required, new_wallet(), 1)
        for guess in ("\x00", "\x00" * 36, "x" * 10_000):
            assert (await look(on_postgres, guess)).status == 404
            assert (await say(on_postgres, payment_submitted(guess, payment)))[0] == 404


# -- time ---------------------------------------------------------------------------------------


async def test_a_late_payment_is_told_the_new_price_and_buys_nothing(shop: Shop) -> None:
    required = await asked(shop, {"code": "print('late')"})
    shop.clock.now += TTL_S + 1
    shop.price_atomic += 100
    late = {"validBefore": str(int(shop.clock.now) + 250)}
    for version in (1, 2):
        payment = payment_for(required, new_wallet(), version, **late)
        status, answer = await say(shop, payment_submitted(required["meta"]["jobId"], payment))
        assert (status, answer["type"], answer["payload"]["code"]) == (
            200,
            "payment_required",
            "offer_expired",
        )
        assert int(answer["payload"]["accepts"][0]["maxAmountRequired"]) == shop.price_atomic + 5000
        assert answer["meta"]["jobId"] == required["meta"]["jobId"]
        assert answer["meta"]["expiresAt"] > required["meta"]["expiresAt"]
        assert answer["meta"]["paymentRequired"] != required["meta"]["paymentRequired"]
    kept = await shop.app.state.a2a.tasks.find(required["meta"]["jobId"])
    assert kept.expires_at_ms == (shop.clock.now + TTL_S) * 1000
    assert kept.claim is None


async def test_a_task_that_nobody_paid_is_forgotten(shop: Shop) -> None:
    required = await asked(shop, {"code": "print('never')"})
    job_id = required["meta"]["jobId"]
    for name in ("status", "job", "jobs"):
        told = await look(shop, job_id, name)
        shown = json.loads(told.body)
        assert (told.status, shown["status"], shown["id"]) == (200, "payment_required", job_id)
        assert (shown["provider"], shown["quote"]["provider"]) == ("local", "local")
        assert (shown["result"], shown["payment"], shown["requester"], shown["jobId"]) == (None,) * 4
    shop.clock.now += TTL_S + LATE_MS / 1000 + 1
    await shop.app.state.a2a.sweep()
    assert (await look(shop, job_id)).status == 404
    payment = payment_for(required, new_wallet(), 2)
    assert (await say(shop, payment_submitted(job_id, payment)))[0] == 404


async def test_a_payment_that_a_dead_broker_left_half_looked_at_does_not_block_the_task(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    required = await asked(shop, {"code": "print('left')"})
    tasks = shop.app.state.a2a.tasks
    task = await tasks.find(required["meta"]["jobId"])
    await tasks.claim(task, "0x" + "1" * 40, "0x" + "2" * 64)
    seen = scripted(shop, monkeypatch, COMPLETED)
    message = payment_submitted(task.id, payment_for(required, new_wallet(), 2))
    status, answer = await say(shop, message)
    assert (status, answer["code"], answer["meta"]["retryAfterS"]) == (409, "task_being_paid", 2)
    assert seen == []
    shop.clock.now += 61
    assert (await say(shop, message))[0] == 200
    assert len(seen) == 1


# -- how the gate's answers are told -------------------------------------------------------------


COMPLETED = Response(
    b'{"jobId":"j","status":"completed","provider":"local","price_usd":"0.1","result":{"a":"\xc3\xa9"}}',
    media_type="application/json",
    headers={"X-PAYMENT-RESPONSE": base64.b64encode(json.dumps(RECEIPT).encode()).decode()},
)
PENDING = JSONResponse({"jobId": "j", "status": "running"}, 202, headers={"Retry-After": "2"})
REFUND = GalaksioError(
    "the provider failed after it was paid",
    status=502,
    code="refund_owed",
    extra={"jobId": "j", "type": "x", "meta": "y", "payload": "z"},
    headers=dict(COMPLETED.headers),
)


@dataclass
class ScriptedGate:
    outcome: Response | Exception
    seen: list[Call]

    async def answer(self, call: Call) -> Response:
        self.seen.append(call)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def scripted(shop: Shop, monkeypatch: pytest.MonkeyPatch, outcome: Response | Exception) -> list[Call]:
    """From now on the gate has this one answer; what it is asked is in the list."""
    gate = ScriptedGate(outcome, [])
    monkeypatch.setattr(shop.gate, "gate", gate)
    return gate.seen


async def paid_answer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, outcome: Response | Exception
) -> tuple[int, dict[str, Any]]:
    required = await asked(shop, RUN)
    scripted(shop, monkeypatch, outcome)
    status, answer = await say(
        shop, payment_submitted(required["meta"]["jobId"], payment_for(required, new_wallet(), 1))
    )
    assert answer["meta"]["jobId"] == required["meta"]["jobId"]
    assert answer["meta"]["statusUrl"] == required["meta"]["statusUrl"]
    return status, answer


async def test_a_result_comes_with_its_receipt(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = await paid_answer(shop, monkeypatch, COMPLETED)
    assert (status, answer["type"]) == (200, "task_completed")
    assert answer["payload"] == json.loads(bytes(COMPLETED.body))
    assert answer["meta"]["receipt"] == RECEIPT
    assert answer["meta"]["paymentResponse"] == COMPLETED.headers["X-PAYMENT-RESPONSE"]


async def test_an_outcome_that_is_not_known_is_pending(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = await paid_answer(shop, monkeypatch, PENDING)
    assert (status, answer["type"]) == (202, "task_pending")
    assert answer["meta"]["retryAfterS"] == 2
    assert "error" not in answer


async def test_a_failure_of_ours_keeps_its_status(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = await paid_answer(shop, monkeypatch, Unavailable("full", retry_after_s=7))
    assert (status, answer["type"], answer["error"]) == (503, "task_failed", "full")
    assert answer["meta"]["retryAfterS"] == 7


async def test_a_refund_that_is_owed_is_a_failure_with_a_receipt(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, answer = await paid_answer(shop, monkeypatch, REFUND)
    assert (status, answer["type"], answer["code"]) == (502, "task_failed", "refund_owed")
    assert answer["meta"]["receipt"] == RECEIPT
    assert (answer["payload"]["jobId"], answer["payload"]["type"]) == ("j", "x")


@pytest.mark.parametrize("version", [1, 2])
async def test_the_gate_is_asked_with_the_payment_and_nothing_else_of_the_message(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    required = await asked(shop, RUN)
    seen = scripted(shop, monkeypatch, COMPLETED)
    payment = payment_for(required, new_wallet(), version)
    message = {**payment_submitted(required["meta"]["jobId"], payment), "agent_id": "a\nb: \u202e\xe9"}
    await say(shop, message, (b"x-payment", b"mine"), (b"authorization", b"x"), (b"x-wallet", b"x"))
    (call,) = seen
    name = {1: "x-payment", 2: "payment-signature"}[version]
    assert sorted(call.headers.keys()) == sorted(["x-wallet", name])
    assert json.loads(base64.b64decode(call.headers[name])) == payment
    assert (call.label, call.method, call.route, call.params) == ("a?b: ??", "POST", "/run", {})
    assert json.loads(call.body) == {"code": "print(1)"}


# -- rubbish --------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec=None), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(["run", "store", "cache", "task_request", "payment_submitted", "print(1)", "python"])
OF_TASKS = [
    "taskType",
    "operation",
    "task",
    "code",
    "data",
    "options",
    "payload",
    "region",
    "ttl",
    "provider",
]
OF_PAYMENTS = ["jobId", "payment", "xPayment", "x402Version", "accepted", "maxCostUsd", "meta"]
FIELDS = st.dictionaries(st.sampled_from([*OF_TASKS, *OF_PAYMENTS]), WORDS | JSON, max_size=6)
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["task_request", "payment_submitted"])},
    optional={
        "agent_id": TEXT | JSON,
        "a2a_version": JSON,
        "payload": FIELDS | st.fixed_dictionaries({"task": FIELDS}) | JSON,
        "meta": FIELDS | JSON,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=MESSAGES | JSON | st.binary(max_size=100))
async def test_no_message_is_too_strange_for_an_answer(shop: Shop, message: Any) -> None:
    status, answer = await say(shop, message)
    assert status in {200, 400, 404, 422, 503}, answer
    assert status != 503 or answer["code"] in {"executor_unavailable", "url_not_measured"}
    assert status != 200 or answer["type"] == "payment_required"
