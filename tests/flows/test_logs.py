"""What the services write down of three sales, with every line there is: linked by ids, and no secrets."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet

SERVICES = ("broker", "quote", "executor")
INTERNAL, OPERATOR = "internal-token-that-nobody-may-see", "operator-token-that-nobody-may-see"
KEY = "0x" + "5e" * 32
CODE_SECRET, ENV_SECRET, FILE_SECRET = "hush-in-the-code", "hush-in-the-env", "hush-in-the-file"
VALUE_SECRET, QUERY_SECRET, PRINTED = "hush-in-the-cache", "hush-in-the-query", "hush-was-printed"
SOCKET_SECRET = "hush-in-the-socket"
Line = dict[str, Any]


@dataclass
class Sold:
    """The lines of each service, as they were written and as JSON; what was sent, by request id."""

    text: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def of(self, service: str, **fields: Any) -> list[Line]:
        return [line for line in self.lines[service] if fields.items() <= line.items()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("logs"),
        REDIS_URL=valkey_url,
        LOG_LEVEL="debug",
        INTERNAL_API_TOKEN=INTERNAL,
        OPERATOR_TOKEN=OPERATOR,
        EXECUTOR_PRIVATE_KEY=KEY,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def sold(stack: Stack) -> Sold:
    """A run, a store and a cache are sold, the cache is used, and much is refused."""
    sold, wallet = Sold(), funded_wallet(stack.devnet)
    with httpx.Client(base_url=stack.broker, timeout=90, trust_env=False) as http:
        code = f"secret = '{CODE_SECRET}'; print('hush-was-' + 'printed')"
        buy(sold, http, wallet, "/run", json={"code": code, "env": {"TOKEN": ENV_SECRET}})
        buy(sold, http, wallet, "/run", json={"code": f"raise ValueError('{CODE_SECRET}')"})
        buy(sold, http, wallet, "/store", files={"file": ("hush.txt", FILE_SECRET.encode(), "text/plain")})
        cache = buy(sold, http, wallet, "/cache", json={"ttl": 60})["result"]
        sold.secrets.append(cache["token"])
        bearer = {"Authorization": f"Bearer {cache['token']}"}
        put = http.put(f"/cache/{cache['cacheId']}/key", json={"value": VALUE_SECRET}, headers=bearer)
        assert put.status_code == 200, put.text
        http.get("/payments", headers={"Authorization": f"Bearer {OPERATOR}"})
        http.get(f"/status/none?token={QUERY_SECRET}")
        http.post("/run", content=f'{{"code": "{CODE_SECRET}"', headers={"X-PAYMENT": "a" * 400})
    listen(sold, stack)
    for name in SERVICES:
        url, look = stack.url(name) + "/health/ready", {"X-Request-ID": "last-look"}
        httpx.get(url, headers=look, trust_env=False, timeout=60)
    read_all(sold, stack)
    sold.secrets += [INTERNAL, OPERATOR, KEY, KEY[2:], CODE_SECRET, ENV_SECRET, FILE_SECRET, VALUE_SECRET]
    sold.secrets += [QUERY_SECRET, PRINTED, "a" * 100, wallet.key, wallet.key[2:]]
    return sold


def listen(sold: Sold, stack: Stack) -> None:
    """A WebSocket of the operator's, one with another token, and one for which there is no route."""
    door = stack.broker.replace("http", "ws")
    address = f"{door}/ws/metrics?token={QUERY_SECRET}"
    with connect(address, additional_headers={"X-Request-ID": "sold-socket"}, proxy=None) as socket:
        assert socket.response is not None
        assert socket.response.headers["X-Request-ID"] == "sold-socket"
        socket.send(json.dumps({"token": OPERATOR}))
        socket.recv(20)
    wrong = {"Authorization": f"Bearer {SOCKET_SECRET}", "X-Request-ID": "refused-socket"}
    with connect(address, additional_headers=wrong, proxy=None) as socket, pytest.raises(ConnectionClosed):
        socket.recv(20)
    with pytest.raises(InvalidStatus):
        connect(f"{door}/{SOCKET_SECRET}", proxy=None)
    sold.secrets.append(SOCKET_SECRET)


def read_all(sold: Sold, stack: Stack) -> None:
    """A line is written after its answer was sent, so that whoever has the answer may be first."""
    deadline = time.monotonic() + 20
    while True:
        for name in SERVICES:
            whole, end, _ = stack.processes[name].output().rpartition("\n")
            sold.text[name] = whole + end
            sold.lines[name] = [json.loads(line) for line in whole.splitlines()]
        if is_complete(sold):
            return
        assert time.monotonic() < deadline, sold.text["broker"][-5000:]
        time.sleep(0.05)


def is_complete(sold: Sold) -> bool:
    """Whether the lines of all that was asked are there."""
    challenges = sold.of("broker", event="request", status=402)
    return (
        all(sold.of(name, event="request", request_id="last-look") for name in SERVICES)
        and all(sold.of("broker", event="request", request_id=id_) for id_ in sold.jobs)
        and all(sold.of("executor", event="request", job_id=job) for job in sold.jobs.values())
        and len(challenges) >= len(sold.jobs)
        and bool(sold.of("broker", event="request", method="PUT"))
        # Of a WebSocket, once the broker has heard that nobody listens any more.
        and len(sold.of("broker", event="websocket")) >= 3
    )


def buy(sold: Sold, http: httpx.Client, wallet: Wallet, path: str, **request: Any) -> Any:
    challenge = http.post(path, **request)
    assert challenge.status_code == 402, challenge.text
    paid = wallet.pay_v2(challenge)
    id_ = f"sold.{path[1:]}.{len(sold.jobs)}"
    answer = http.post(path, headers={**paid, "X-Request-ID": id_}, **request)
    assert answer.status_code == 200, answer.text
    (header,) = paid.values()
    sold.secrets.append(header)
    sold.jobs[id_] = answer.json()["jobId"]
    return answer.json()


@pytest.mark.parametrize("service", SERVICES)
def test_each_line_is_a_json_object_that_says_when_where_how_bad_and_what(sold: Sold, service: str) -> None:
    assert len(sold.lines[service]) > 10
    for line in sold.lines[service]:
        assert line.keys() >= {"timestamp", "level", "event", "service"}, line
        assert line["service"] == f"galaksio-{service}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])


@pytest.mark.parametrize("service", SERVICES)
def test_no_line_holds_a_secret_or_anything_of_a_customers(sold: Sold, service: str) -> None:
    found = [secret for secret in sold.secrets if secret in sold.text[service]]
    assert found == []
    assert not re.search('signature"?: *"?0x|Bearer ', sold.text[service])


def test_a_sale_can_be_followed_by_its_ids_through_broker_and_executor(sold: Sold) -> None:
    assert len(sold.jobs) == 4
    for id_, job in sold.jobs.items():
        path = "/" + id_.split(".")[1]
        (at_broker,) = sold.of("broker", event="request", request_id=id_)
        assert (at_broker["route"], at_broker["status"], at_broker["job_id"]) == (path, 200, job)
        assert at_broker["ms"] > 0
        assert at_broker["size_bytes"] > 0
        (settled,) = sold.of("broker", event="payment_settled", job_id=job)
        assert settled["request_id"] == id_
        (at_executor,) = sold.of("executor", event="request", route="/execute", job_id=job)
        assert (at_executor["request_id"], at_executor["status"]) == (id_, 200)


def test_a_websocket_is_one_line_that_tells_how_it_ended(sold: Sold) -> None:
    (kept,) = sold.of("broker", event="websocket", request_id="sold-socket")
    assert (kept["route"], kept["outcome"]) == ("/ws/metrics", "closed")
    assert kept["ms"] > 0
    assert kept["size_bytes"] > 500
    (refused,) = sold.of("broker", event="websocket", request_id="refused-socket")
    assert (refused["route"], refused["outcome"], refused["code"]) == ("/ws/metrics", "unauthorized", 1008)
    (nowhere,) = sold.of("broker", event="websocket", route="unmatched")
    assert nowhere["outcome"] == "rejected"
    assert nowhere["request_id"]


def test_what_the_broker_asked_quote_has_the_requests_id(sold: Sold) -> None:
    told = {line["request_id"] for line in sold.of("broker", event="request", status=402)}
    asked = {line["request_id"] for line in sold.of("quote", event="request", method="POST")}
    assert asked
    assert asked <= told | set(sold.jobs)


def test_routes_are_written_as_declared_and_health_is_quiet(sold: Sold) -> None:
    for service in SERVICES:
        for line in sold.of(service, event="request"):
            assert "?" not in line["route"]
            quiet = line["route"].startswith("/health")
            assert line["level"] == ("debug" if quiet else "info"), line
    (put,) = sold.of("broker", event="request", method="PUT")
    assert (put["route"], put["status"]) == ("/cache/{cacheId}/{key}", 200)
    assert sold.of("broker", event="request", route="/health/ready", level="debug")


def test_the_line_of_a_request_says_nothing_else(sold: Sold) -> None:
    lines = sold.of("broker", event="request")
    assert lines
    assert all(
        line.keys()
        <= {
            *("event", "level", "timestamp", "service", "method", "route", "status", "ms", "size_bytes"),
            *("request_id", "job_id"),
        }
        for line in lines
    )
