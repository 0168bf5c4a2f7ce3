"""The answers to payments that a broker among honest neighbours never gives, held to its document.

What is answered while all goes well is asked for by schemathesis itself (`tests/openapi/test_fuzz.py`).
"""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.attacks.test_paid_ahead import FAILED, remote, sold_by
from tests.attacks.world import World, new_body
from tests.broker.a2a.agent import Agent, payment_for, payment_submitted
from tests.flows.test_payments_api import sign_in
from tests.openapi.documents import app_of
from tests.support.standin import Answer, Script, always
from tests.support.wallets import Wallet, receipt_of

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
TOLD = ("payment-required", "payment-response", "x-payment-response", "location", "retry-after")
"""Headers that a client acts upon: none of them comes unannounced."""
UNCLEAR = always(Answer.of({"error": "bad gateway"}, 502))
NO_FUNDS = always(
    Answer.of(
        {
            "isValid": False,
            "success": False,
            "invalidReason": "insufficient_funds",
            "errorReason": "insufficient_funds",
            "transaction": "",
            "network": "",
        }
    )
)
_NAMES = re.compile(r"\{(\w+)\}")
EVERY_VERSION = pytest.mark.parametrize("version", [1, 2])


class Document:
    """The document of the broker at work."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.schema = schemathesis.openapi.from_dict(raw)

    def check(self, response: httpx.Response, path: str) -> None:
        """Raises for an answer that the document does not say, to a request for the declared `path`."""
        method = response.request.method
        case = self.schema[path][method].Case(path_parameters=dict.fromkeys(_NAMES.findall(path), "x"))
        case.validate_response(response, checks=CHECKS)
        declared = self.raw["paths"][path][method.lower()]["responses"][str(response.status_code)]["headers"]
        known = {name.lower() for name in declared}
        assert {name for name in TOLD if name in response.headers} <= known, (path, response.status_code)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return Document(app_of("broker", tmp_path_factory.mktemp("document")).openapi())


def paid(broker: httpx.Client, wallet: Wallet, version: int, path: str = "/run") -> httpx.Response:
    """The answer to a request with a payment, whatever it is."""
    body = new_body()
    price = broker.post(path, json=body)
    assert price.status_code == 402, price.text
    headers = wallet.pay_v1(price) if version == 1 else wallet.pay_v2(price)
    return broker.post(path, json=body, headers=headers)


@EVERY_VERSION
@pytest.mark.parametrize("path", ["/run", "/execute"])
def test_work_that_is_paid_for(
    broker: httpx.Client, wallet: Wallet, document: Document, path: str, version: int
) -> None:
    answer = paid(broker, wallet, version, path)
    assert (answer.status_code, receipt_of(answer)["success"]) == (200, True), answer.text
    document.check(answer, path)


@EVERY_VERSION
def test_a_settlement_of_which_nobody_knows_and_its_job(
    world: World, broker: httpx.Client, wallet: Wallet, document: Document, version: int
) -> None:
    world.facilitator.on_settle = UNCLEAR
    answer = paid(broker, wallet, version)
    assert answer.status_code == 202, answer.text
    document.check(answer, "/run")
    job = broker.get(answer.headers["Location"])
    assert job.json()["payment"]["state"] in {"unknown", "settling"}
    document.check(job, "/status/{job_id}")


@EVERY_VERSION
def test_a_settlement_that_is_refused(
    world: World, broker: httpx.Client, wallet: Wallet, document: Document, version: int
) -> None:
    world.facilitator.on_settle = NO_FUNDS
    answer = paid(broker, wallet, version)
    assert (answer.status_code, receipt_of(answer)["success"]) == (402, False), answer.text
    document.check(answer, "/run")


def owed(world: World, broker: httpx.Client, wallet: Wallet, version: int) -> httpx.Response:
    world.quote.on_quote = sold_by(remote("merit-systems"))
    world.executor.on_execute = always(Answer.of(FAILED, 502))
    return paid(broker, wallet, version)


@EVERY_VERSION
def test_a_refund_that_is_owed_and_where_it_is_listed(
    world: World, broker: httpx.Client, wallet: Wallet, document: Document, version: int
) -> None:
    answer = owed(world, broker, wallet, version)
    assert (answer.status_code, receipt_of(answer)["success"]) == (502, True), answer.text
    document.check(answer, "/run")
    headers = sign_in(broker, wallet)
    listed = broker.get("/payments", headers=headers)
    assert listed.json()["payments"][0]["refund"]["state"] == "owed"
    document.check(listed, "/payments")
    one = broker.get(f"/payments/{listed.json()['payments'][0]['id']}", headers=headers)
    document.check(one, "/payments/{payment_id}")
    document.check(broker.get(f"/status/{answer.json()['jobId']}"), "/status/{job_id}")


@pytest.mark.parametrize(
    ("status", "kind", "on_settle", "on_execute"),
    [
        (200, "task_completed", None, None),
        (202, "task_pending", UNCLEAR, None),
        (200, "payment_required", NO_FUNDS, None),
        (502, "task_failed", None, always(Answer.of(FAILED, 502))),
    ],
)
def test_a_payment_by_message(
    world: World,
    broker: httpx.Client,
    wallet: Wallet,
    document: Document,
    *,
    status: int,
    kind: str,
    on_settle: Script | None,
    on_execute: Script | None,
) -> None:
    world.quote.on_quote = sold_by(remote("merit-systems"))
    required = Agent(broker).ask({"taskType": "run", **new_body()})
    world.facilitator.on_settle, world.executor.on_execute = on_settle, on_execute
    message = payment_submitted(required["meta"]["jobId"], payment_for(required, wallet, 2))
    answer = broker.post("/a2a/message", json=message)
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert ("receipt" in answer.json()["meta"]) is (status != 202)
    document.check(answer, "/a2a/message")


def unverified(world: World, broker: httpx.Client, wallet: Wallet) -> httpx.Response:
    world.facilitator.on_verify = UNCLEAR
    return paid(broker, wallet, 2)


def not_good(world: World, broker: httpx.Client, wallet: Wallet) -> httpx.Response:
    world.facilitator.on_verify = NO_FUNDS
    return paid(broker, wallet, 1)


def used_elsewhere(world: World, broker: httpx.Client, wallet: Wallet) -> httpx.Response:
    headers = wallet.pay_v1(broker.post("/run", json=(body := new_body())))
    assert broker.post("/run", json=body, headers=headers).status_code == 200
    return broker.post("/run", json=new_body(), headers=headers)


def not_done(world: World, broker: httpx.Client, wallet: Wallet) -> httpx.Response:
    world.executor.on_execute = always(Answer.of(FAILED, 503))
    return paid(broker, wallet, 2)


def not_possible(world: World, broker: httpx.Client, wallet: Wallet) -> httpx.Response:
    world.executor.on_execute = always(Answer.of({"error": "no such package", "code": "bad"}, 422))
    return paid(broker, wallet, 2)


@pytest.mark.parametrize(
    ("status", "ask"),
    [
        (402, lambda _, broker, __: broker.post("/run", json=new_body())),
        (402, lambda _, broker, __: broker.post("/run", json=new_body(), headers={"Accept": "text/html"})),
        (402, lambda _, broker, __: broker.post("/run")),
        (400, lambda _, broker, __: broker.post("/run", json=new_body(), headers={"X-PAYMENT": "e30="})),
        (
            431,
            lambda _, broker, __: broker.post("/run", json=new_body(), headers={"X-PAYMENT": "A" * 20_000}),
        ),
        (422, lambda _, broker, __: broker.post("/run", json={"code": "\0"})),
        (413, lambda _, broker, __: broker.post("/run", content=b" " * 11_000_000)),
        (503, unverified),
        (402, not_good),
        (409, used_elsewhere),
        (503, not_done),
        (422, not_possible),
    ],
)
def test_a_payment_that_is_asked_for_or_not_taken(
    world: World,
    broker: httpx.Client,
    wallet: Wallet,
    document: Document,
    *,
    status: int,
    ask: Callable[[World, httpx.Client, Wallet], httpx.Response],
) -> None:
    answer = ask(world, broker, wallet)
    assert answer.status_code == status, answer.text
    document.check(answer, "/run")
