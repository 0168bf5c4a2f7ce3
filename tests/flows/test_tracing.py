"""A paid run as one trace through broker, quote and executor, at a stand-in for a collector."""

import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.services import Stack, clean_environment, running_stack
from tests.support.standin import Answer, StandIn
from tests.support.wallets import funded_wallet

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed"
)
STEPS = {"quote", "verify", "execute", "work", "settle"}


class Collector(StandIn):
    """Keeps the spans that it is sent, as `{service, name, trace, span, parent, attributes}`."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[dict[str, Any]] = []

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        assert (method, path) == ("POST", "/v1/traces")
        plain = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        for of_service in trace_service.ExportTraceServiceRequest.FromString(plain).resource_spans:
            resource = {one.key: one.value.string_value for one in of_service.resource.attributes}
            for scope in of_service.scope_spans:
                self.spans += [_read(resource["service.name"], span) for span in scope.spans]
        return Answer(body=b"", headers=(("Content-Type", "application/x-protobuf"),))


def _read(service: str, span: Any) -> dict[str, Any]:
    return {
        "service": service.removeprefix("galaksio-"),
        "name": span.name,
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "attributes": {one.key: str(one.value) for one in span.attributes},
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    served = Collector()
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("traces"),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
    ) as running:
        yield running


def test_a_paid_run_is_one_trace_and_tells_nothing_of_the_customers(
    stack: Stack, collector: Collector
) -> None:
    wallet, body = funded_wallet(stack.devnet), {"code": "print('hush-hush')"}
    url = stack.broker + "/run?token=hush-query"
    challenge = httpx.post(url, json=body, timeout=60, trust_env=False)
    paid = httpx.post(url, json=body, headers=wallet.pay_v2(challenge), timeout=60, trust_env=False)
    assert paid.status_code == 200, paid.text
    deadline = time.monotonic() + 20
    while not _all_told(collector.spans):
        assert time.monotonic() < deadline, collector.spans
        time.sleep(0.1)
    trace = _trace_of(collector, "settle")
    assert {span["service"] for span in trace} == {"broker", "executor"}
    by_id = {span["span"]: span for span in trace}
    work = next(span for span in trace if span["name"] == "work")
    chain = []
    while work is not None:
        chain.append((work["service"], work["name"]))
        work = by_id.get(work["parent"])
    assert chain == [
        ("executor", "work"),
        ("executor", "POST /execute"),
        ("broker", "execute"),
        ("broker", "POST /run"),
    ]
    asked = next(span for span in collector.spans if _is_of_price(span))
    assert asked["trace"] in {span["trace"] for span in collector.spans if span["name"] == "POST /run"}
    told = str(collector.spans)
    assert not [word for word in ("hush", "health", *wallet.pay_v2(challenge).values()) if word in told]


def _all_told(spans: list[dict[str, Any]]) -> bool:
    """Whether each service has spoken, of all steps, and no parent of a span is still to come."""
    told = {span["span"] for span in spans}
    return (
        {span["service"] for span in spans} >= {"broker", "quote", "executor"}
        and any(map(_is_of_price, spans))
        and {span["name"] for span in spans} >= STEPS
        and all(span["parent"] in told for span in spans if span["parent"])
    )


def _is_of_price(span: dict[str, Any]) -> bool:
    """And not of how quote is, which a broker asks every ten seconds."""
    return span["service"] == "quote" and str(span["name"]).startswith("POST ")


def _trace_of(collector: Collector, name: str) -> list[dict[str, Any]]:
    traces = {span["trace"] for span in collector.spans if span["name"] == name}
    return [span for span in collector.spans if span["trace"] in traces]


def test_a_collector_that_is_away_holds_nobody_up(stack: Stack) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    broker = stack.launch("broker", "away", OTEL_EXPORTER_OTLP_ENDPOINT=away).wait_ready()
    asked = httpx.post(broker.url + "/run", json={"code": "1"}, timeout=60, trust_env=False)
    assert asked.status_code == 402
    began_s = time.monotonic()
    broker.stop()
    assert time.monotonic() - began_s < 25


def test_an_endpoint_without_the_extra_is_one_sentence(tmp_path: Any) -> None:
    program = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if 'exporter' in name else find(name, *more)\n"
        "from quote.settings import QuoteSettings; from quote.main import create_app\n"
        "from shared.serve import run_module\n"
        "run_module('quote', QuoteSettings, create_app, port_setting='QUOTE_PORT')\n"
    )
    settings = {"QUOTE_PORT": str(free_port()), "GALAKSIO_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "galaksio[otel]" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
