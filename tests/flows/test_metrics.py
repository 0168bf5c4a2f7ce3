"""`/metrics` of all three services after they were paid for something, and who may read it."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet

ROOT = Path(__file__).parents[2]
TOKEN = {"Authorization": "Bearer test-token"}
Figures = list[Metric]
PRICE_USD = 0.0058


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: what others buy would be counted too."""
    with running_stack(tmp_path_factory.mktemp("metrics")) as running:
        yield running


@pytest.fixture(scope="module")
def figures(stack: Stack) -> dict[str, Figures]:
    """Of each service, after a paid run, and one whose code ended with an error."""
    wallet = funded_wallet(stack.devnet)
    for code in ("print(1)", "raise SystemExit(3)"):
        buy(stack, wallet, code)
    deadline = time.monotonic() + 20
    while True:
        found = {name: scrape(stack, name) for name in ("broker", "quote", "executor")}
        if is_complete(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def is_complete(figures: dict[str, Figures]) -> bool:
    """Whether what is counted after an answer, is free after a run or takes a while to look up is there."""
    told = {family.name for of_service in figures.values() for family in of_service}
    if not told >= {"galaksio_payments", "galaksio_provider_up", "galaksio_provider_price_usd"}:
        return False
    slots, free = (value(figures["executor"], f"galaksio_sandbox_slots{part}") for part in ("", "_free"))
    return slots == free and value(figures["broker"], "http_requests_total", route="/run") >= 4


def buy(stack: Stack, wallet: Wallet, code: str) -> None:
    challenge = post(stack, {"code": code})
    paid = post(stack, {"code": code}, wallet.pay_v2(challenge))
    assert paid.status_code == 200, paid.text


def post(stack: Stack, body: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(stack.broker + "/run", json=body, headers=headers, timeout=60, trust_env=False)


def scrape(stack: Stack, name: str) -> Figures:
    answer = httpx.get(stack.url(name) + "/metrics", headers=TOKEN, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return list(text_string_to_metric_families(answer.text))


def value(figures: Figures, sample: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels."""
    found = [
        one.value
        for family in figures
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert found, (sample, labels)
    return sum(found)


def promised() -> list[tuple[str, str, set[str]]]:
    """Name, kind and labels of what the alerts and the dashboard of `deploy` rest on."""
    lines = (ROOT / "deploy/monitoring/metrics.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [(name, kind, set(labels)) for name, kind, *labels in words]


@pytest.mark.parametrize(("name", "kind", "labels"), promised(), ids=[name for name, *_ in promised()])
def test_what_dashboards_rest_on_is_published(
    figures: dict[str, Figures], name: str, kind: str, labels: set[str]
) -> None:
    families = [
        family
        for of_service in figures.values()
        for family in of_service
        if family.type == kind and name in {family.name, f"{family.name}_total"}
    ]
    assert families, name
    told = [sample.labels.keys() - {"le"} for family in families for sample in family.samples]
    assert all(found == labels for found in told)
    # What needs another provider, or a provider that is far away, has nothing to tell here.
    if name not in {"galaksio_upstream_spent_usd_total", "galaksio_provider_probe_seconds"}:
        assert told, f"{name} has no sample"


def test_a_paid_run_is_counted_once_in_every_figure(figures: dict[str, Figures]) -> None:
    broker, executor = figures["broker"], figures["executor"]
    for event in ("reserved", "running", "settling", "settled"):
        assert value(broker, "galaksio_payments_total", event=event) == 2, event
    assert value(broker, "galaksio_revenue_usd_total") == pytest.approx(2 * PRICE_USD)
    assert value(broker, "galaksio_settlement_seconds_count") == 2
    assert value(broker, "galaksio_payments") == 0
    assert value(broker, "galaksio_refunds_owed_usd") == 0
    run = {"service": "galaksio-broker", "method": "POST", "route": "/run"}
    assert value(broker, "http_requests_total", **run, status="402") == 2
    assert value(broker, "http_requests_total", **run, status="200") == 2
    assert value(broker, "http_request_duration_seconds_count", **run) == 4
    assert value(executor, "galaksio_runs_total", language="python", outcome="ok") == 1
    assert value(executor, "galaksio_runs_total", language="python", outcome="error") == 1
    assert value(executor, "galaksio_run_seconds_count") == 2
    assert value(executor, "galaksio_jobs_total", kind="compute", provider="local", outcome="done") == 2
    slots = value(executor, "galaksio_sandbox_slots")
    assert slots == value(executor, "galaksio_sandbox_slots_free") >= 1
    assert value(figures["quote"], "galaksio_provider_up", kind="compute", provider="local") == 1
    assert value(figures["quote"], "galaksio_provider_price_usd", kind="compute", provider="local") > 0


def test_websockets_are_counted_while_they_are_open_and_by_how_they_ended(stack: Stack) -> None:
    operator = "o" * 8 + "p" * 8
    broker = stack.launch("broker", "sockets", OPERATOR_TOKEN=operator).wait_ready()
    address, one = broker.url.replace("http", "ws") + "/ws/metrics", {"route": "/ws/metrics"}
    with connect(address, additional_headers={"Authorization": f"Bearer {operator}"}, proxy=None) as socket:
        socket.recv(20)
        assert value(scrape(stack, "sockets"), "websockets_open", **one) == 1
    for token, message in (("wrong", None), (None, "{}")):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with connect(address, additional_headers=headers, proxy=None) as socket:
            if message:
                socket.send(message)
            with pytest.raises(ConnectionClosed):
                socket.recv(20)
    with pytest.raises(InvalidStatus):
        connect(broker.url.replace("http", "ws") + "/never/heard/of", proxy=None)
    deadline = time.monotonic() + 20
    while True:
        figures = scrape(stack, "sockets")
        open_, ended = value(figures, "websockets_open", **one), value(figures, "websockets_ended_total")
        if (open_, ended) == (0, 4):
            break
        assert time.monotonic() < deadline, (open_, ended)
        time.sleep(0.05)
    assert value(figures, "websockets_accepted_total", **one) == 3
    assert value(figures, "websockets_ended_total", **one, outcome="closed") == 1
    assert value(figures, "websockets_ended_total", **one, outcome="unauthorized") == 2
    assert value(figures, "websockets_ended_total", route="unmatched", outcome="rejected") == 1
    assert value(figures, "websocket_duration_seconds_count") == 3
    broker.stop()


def test_a_path_that_nobody_declared_makes_no_figure_of_its_own(stack: Stack) -> None:
    for number in range(3):
        for path in (f"never/heard/of/{number}", f"status/00000000-0000-0000-0000-00000000000{number}"):
            httpx.get(f"{stack.broker}/{path}", trust_env=False, timeout=60)
    broker = counted(stack, 3, route="unmatched", status="404")
    routes = {sample.labels["route"] for f in broker for sample in f.samples if "route" in sample.labels}
    assert value(broker, "http_requests_total", route="unmatched", status="404") >= 3
    assert not [route for route in routes if "never" in route or "0000" in route]


def test_a_flood_of_equal_requests_is_counted_though_the_gate_never_sees_it(stack: Stack) -> None:
    run = {"route": "/run", "status": "402"}
    before = value(scrape(stack, "broker"), "http_requests_total", **run)
    for _ in range(20):
        assert post(stack, {"code": "print('the same')"}).status_code == 402
    after = value(counted(stack, before + 20, **run), "http_requests_total", **run)
    assert after - before == 20


def counted(stack: Stack, at_least: float, **labels: str) -> Figures:
    """The broker's figures once so many requests are in them: each is counted after it was answered."""
    deadline = time.monotonic() + 20
    while True:
        figures = scrape(stack, "broker")
        if value(figures, "http_requests_total", **labels) >= at_least:
            return figures
        assert time.monotonic() < deadline, labels
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["broker", "quote", "executor"])
@pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer", "test-token", "Bearer test-token2"])
def test_strangers_read_nothing(stack: Stack, name: str, given: str) -> None:
    answer = httpx.get(
        stack.url(name) + "/metrics", headers={"Authorization": given}, trust_env=False, timeout=60
    )
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer")
    assert "galaksio_" not in answer.text


def test_a_token_of_ones_own_and_the_operators_open_them(stack: Stack) -> None:
    second = stack.launch(
        "broker", "second", METRICS_TOKEN="m" * 8 + "e" * 8, OPERATOR_TOKEN="o" * 8 + "p" * 8
    ).wait_ready()
    for token in ("m" * 8 + "e" * 8, "o" * 8 + "p" * 8, "test-token"):
        answer = httpx.get(
            second.url + "/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
        )
        assert answer.status_code == 200
    second.stop()


def test_without_any_token_the_public_door_tells_nobody_not_even_its_own_machine(stack: Stack) -> None:
    open_door = stack.launch("broker", "without", INTERNAL_API_TOKEN="").wait_ready()
    answer = httpx.get(open_door.url + "/metrics", trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "METRICS_TOKEN" in answer.json()["error"]
    open_door.stop()
