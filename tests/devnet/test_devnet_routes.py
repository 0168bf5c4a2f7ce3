"""The other routes, malformed input everywhere, and a chain that has too much to do."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devnet.chain import DevnetChain
from devnet.main import create_app
from devnet.settings import DevnetSettings, local_network
from devnet.worker import ChainBusy, ChainTimeout, ChainWorker
from tests.devnet.conftest import OpenDevnet
from tests.devnet.support import USDC, Client, FakeClock, Payer, payment

SELLER = Payer().address
ERROR_KEYS = {"error", "success", "message", "detail", "code", "requestId"}


async def test_health_says_which_network_it_plays_and_that_it_is_a_devnet(
    devnet: Client, clock: FakeClock
) -> None:
    health = await devnet.get("/health")
    assert health == {
        "status": "ok",
        "ok": True,
        "service": "galaksio-devnet",
        "version": "0.1.0",
        "timestamp": "2030-03-17T17:46:40.000Z",
        "devnet": True,
        "chainId": 84532,
        "network": "base-sepolia",
        "asset": USDC,
        "dependencies": {},
    }
    ready = await devnet.get("/health/ready")
    assert (ready["status"], ready["blockNumber"]) == ("healthy", 0)


async def test_the_faucet_pays_a_hundred_dollars_as_often_as_asked(devnet: Client) -> None:
    payer = Payer()
    for visit in (1, 2, 3):
        answer = await devnet.post("/faucet", {"address": payer.address.lower()})
        assert answer == {
            "address": payer.address,
            "amount": "100000000",
            "balance": str(visit * 100_000_000),
            "transaction": answer["transaction"],
            "devnet": True,
        }
        receipt = await devnet.rpc("eth_getTransactionReceipt", answer["transaction"])
        assert (receipt["status"], int(receipt["blockNumber"], 16)) == ("0x1", visit)
    assert await devnet.get(f"/balance/{payer.address}") == {
        "address": payer.address,
        "balance": "300000000",
    }


async def test_an_address_nobody_used_has_a_balance_of_zero(devnet: Client) -> None:
    assert (await devnet.get(f"/balance/{Payer().address}"))["balance"] == "0"


def _wrong_checksum(address: str) -> str:
    return next(
        changed
        for i in range(2, 42)
        if (changed := address[:i] + address[i].swapcase() + address[i + 1 :]) != address
    )


@pytest.mark.parametrize(
    "address",
    ["0x12", "nobody", USDC[2:], USDC + "0", "0x" + "0" * 40, "0x" + "g" * 40, _wrong_checksum(USDC)],
)
async def test_a_bad_address_or_nonce_is_400_in_the_houses_shape(devnet: Client, address: str) -> None:
    nonce = "0x" + "1" * 64
    for response in (
        await devnet.http.get(f"/balance/{address}"),
        await devnet.http.get(f"/authorization/{address}/{nonce}"),
        await devnet.http.post("/faucet", json={"address": address}),
        await devnet.http.get(f"/authorization/{USDC}/{address}"),
    ):
        assert response.status_code == 400, response.text
        body = response.json()
        assert body.keys() == ERROR_KEYS
        assert body["success"] is False
        assert body["code"] in ("invalid_address", "invalid_nonce")
        assert body["requestId"] == response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/verify", "/settle", "/faucet"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b'"x"', b"{}", b"[" * 50_000, b'{"address": 7}']
)
async def test_a_malformed_body_is_400_on_every_route(devnet: Client, path: str, body: bytes) -> None:
    response = await devnet.http.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json().keys() == ERROR_KEYS


def _changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(body))
    *parents, last = path.split(".")
    target = copy
    for key in parents:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return copy


AUTHORIZATION = "paymentPayload.payload.authorization"
MALFORMED: list[tuple[str, Any]] = [
    ("x402Version", 3),
    ("x402Version", True),
    ("x402Version", "1"),
    ("paymentPayload", ...),
    ("paymentPayload", []),
    ("paymentPayload.x402Version", 0),
    ("paymentPayload.payload", "x"),
    ("paymentPayload.payload", {}),
    ("paymentPayload.payload.signature", ...),
    ("paymentPayload.payload.signature", "0x123"),
    ("paymentPayload.payload.signature", "0xzz"),
    ("paymentPayload.payload.signature", None),
    ("paymentPayload.payload.signature", "0x" + "00" * 10_000),
    (AUTHORIZATION, ...),
    (AUTHORIZATION, []),
    *(
        (f"{AUTHORIZATION}.{key}", ...)
        for key in ("from", "to", "value", "validAfter", "validBefore", "nonce")
    ),
    (f"{AUTHORIZATION}.from", "0x12"),
    (f"{AUTHORIZATION}.value", 5),
    (f"{AUTHORIZATION}.value", "1_0000"),
    (f"{AUTHORIZATION}.value", "+1"),
    (f"{AUTHORIZATION}.value", "-1"),
    (f"{AUTHORIZATION}.value", " 1"),
    (f"{AUTHORIZATION}.value", "1\n"),
    (f"{AUTHORIZATION}.value", "٣"),
    (f"{AUTHORIZATION}.value", "1e3"),
    (f"{AUTHORIZATION}.value", str(2**256)),
    (f"{AUTHORIZATION}.value", "9" * 5000),
    (f"{AUTHORIZATION}.validBefore", "soon"),
    (f"{AUTHORIZATION}.validBefore", str(2**256)),
    (f"{AUTHORIZATION}.nonce", "0x" + "1" * 63),
    (f"{AUTHORIZATION}.nonce", "0x" + "1" * 66),
    ("paymentRequirements", ...),
    ("paymentRequirements.asset", "USDC"),
    ("paymentRequirements.payTo", ""),
    ("paymentRequirements.maxTimeoutSeconds", "long"),
    ("paymentRequirements.extra", "USDC"),
    ("paymentRequirements.network", 84532),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("path", "value"), MALFORMED, ids=lambda value: str(value)[:40])
async def test_a_malformed_payment_is_400_and_names_no_internals(
    devnet: Client, clock: FakeClock, version: int, path: str, value: Any
) -> None:
    body = _changed(payment(version, Payer().authorize(SELLER, 5, clock())), path, value)
    for route in ("/verify", "/settle"):
        response = await devnet.http.post(route, json=body)
        assert response.status_code == 400, response.text
        assert response.json()["code"] == "invalid_payment"
        assert "Traceback" not in response.text
        assert "pydantic" not in response.text.lower()


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_PATHS = sorted(
    {path for path, _ in MALFORMED}
    | {"paymentRequirements.extra.name", "paymentRequirements.extra.version", "paymentRequirements.scheme"}
)


def test_no_value_anywhere_in_a_payment_makes_a_500(tmp_path: Path) -> None:
    app = create_app(DevnetSettings(galaksio_home=tmp_path / "home"))
    good = {version: payment(version, Payer().authorize(SELLER, 5, time.time())) for version in (1, 2)}

    async def post(route: str, body: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://devnet") as http:
            # `json.dumps` writes Infinity and NaN, which Python's parser reads and httpx would refuse.
            return await http.post(route, content=json.dumps(body))

    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from([1, 2]), st.sampled_from(_PATHS), _json_values, st.booleans())
        def try_it(version: int, path: str, value: Any, settle: bool) -> None:
            body = _changed(good[version], path, value)
            response = runner.run(post("/settle" if settle else "/verify", body))
            assert response.status_code in (200, 400), response.text
            if response.status_code == 200:
                assert response.json()["success" if settle else "isValid"] is False

        try:
            try_it()
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


async def test_an_unknown_route_and_a_wrong_method_answer_in_the_houses_shape(devnet: Client) -> None:
    missing, wrong = await devnet.http.get("/nothing"), await devnet.http.get("/settle")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json().keys() == wrong.json().keys() == ERROR_KEYS


async def test_a_settlement_that_takes_long_does_not_hold_up_the_event_loop(
    open_devnet: OpenDevnet, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    async with open_devnet() as devnet:
        payer = await devnet.funded()
        entered, leave = threading.Event(), threading.Event()
        real = DevnetChain.send

        def slow(*args: Any) -> Any:
            entered.set()
            assert leave.wait(60)
            return real(*args)

        monkeypatch.setattr(DevnetChain, "send", slow)
        settling = asyncio.create_task(
            devnet.post("/settle", payment(2, payer.authorize(SELLER, 5, clock())))
        )
        await asyncio.to_thread(entered.wait, 20)
        assert (await devnet.get("/health"))["ok"] is True
        assert not settling.done()
        leave.set()
        assert (await settling)["success"]


@pytest.fixture
def make_worker(tmp_path: Path, clock: FakeClock) -> Any:
    made: list[ChainWorker] = []

    def make(**limits: Any) -> ChainWorker:
        settings = DevnetSettings(galaksio_home=tmp_path)
        network = local_network(settings)
        made.append(ChainWorker(lambda: DevnetChain(settings.state_path, network, clock), **limits))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


async def test_a_full_queue_answers_503_at_once_and_empties_again(make_worker: Any) -> None:
    worker = make_worker(max_waiting=2)
    leave = threading.Event()
    held = [asyncio.create_task(worker.run(lambda _: leave.wait(60))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ChainBusy) as busy:
        await worker.run(lambda _: None)
    assert (busy.value.status, busy.value.headers["Retry-After"]) == (503, "1")
    leave.set()
    assert await asyncio.gather(*held) == [True, True]
    assert await worker.run(lambda chain: chain.head().block_number) == 0


async def test_a_call_that_was_never_started_is_busy_and_one_that_runs_too_long_is_unknown(
    make_worker: Any,
) -> None:
    worker = make_worker(timeout_s=1.5)
    entered, leave, ran = threading.Event(), threading.Event(), []

    def run_long(_: DevnetChain) -> None:
        entered.set()
        leave.wait(60)

    running = asyncio.create_task(worker.run(run_long))
    await asyncio.to_thread(entered.wait, 20)
    with pytest.raises(ChainBusy):
        await worker.run(lambda _: ran.append("never"))
    with pytest.raises(ChainTimeout) as late:
        await running
    assert late.value.status == 504
    leave.set()
    assert await worker.run(lambda chain: chain.head().block_number) == 0
    assert ran == []


async def test_a_call_whose_caller_hung_up_still_ends_and_holds_its_place_until_then(
    make_worker: Any,
) -> None:
    worker = make_worker(max_waiting=1)
    entered, leave, done = threading.Event(), threading.Event(), []

    def settle(_: DevnetChain) -> None:
        entered.set()
        leave.wait(60)
        done.append(True)

    caller = asyncio.create_task(worker.run(settle))
    await asyncio.to_thread(entered.wait, 20)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(ChainBusy):
        await worker.run(lambda _: None)
    leave.set()
    while not done:
        await asyncio.sleep(0.01)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert await worker.run(lambda _: done) == [True]
            break
        except ChainBusy:  # it has ended, and its place is given back a moment later
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
