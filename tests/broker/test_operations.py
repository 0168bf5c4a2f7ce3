"""What is sold is described alike to the executor, to quote, to crawlers and in the HTTP interface."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from broker.main import create_app
from broker.operations import RUN
from broker.payments.offers import Offer
from broker.payments.terms import Terms, challenge
from broker.settings import BrokerSettings
from shared.errors import BadRequest
from shared.settings import load_settings
from tests.broker.conftest import HOST

SIZES = ["small", "medium", "large"]
OFFER = Offer("offer", "hash", 5800, "local", {"provider": "local"}, 270, 0, 0)


@pytest.mark.parametrize(("given", "size"), [({}, "medium"), ({"size": "large"}, "large")])
def test_executor_and_quote_are_told_the_size(given: dict[str, str], size: str) -> None:
    work = RUN.parse(json.dumps({"code": "x", **given}).encode(), {})
    assert (work.task["size"], work.ask["size"], work.meaning["size"]) == (size, size, size)


def test_quote_is_told_how_many_dependencies_there_are() -> None:
    assert RUN.parse(b'{"code": "x"}', {}).ask["dependencies"] == 0


def test_a_size_that_is_none_is_refused_with_the_list() -> None:
    with pytest.raises(BadRequest, match="small, medium, large") as caught:
        RUN.parse(b'{"code": "x", "size": "xxl"}', {})
    assert caught.value.code == "unknown_size"


def test_the_http_interface_lists_the_sizes(tmp_path: Path) -> None:
    settings = {"GALAKSIO_HOME": str(tmp_path), "X402_WALLET_ADDRESS": HOST}
    document = create_app(load_settings(BrokerSettings, settings)).openapi()
    for route in ("/run", "/execute"):
        post = document["paths"][route]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["size"]["enum"] == SIZES
        assert "512 MB" in schema["properties"]["size"]["description"]
        assert "Retry-After" in post["responses"]["503"]["headers"]


def test_the_402_for_crawlers_describes_what_sets_the_price(terms: Terms) -> None:
    answer = challenge(terms, OFFER, RUN, "https://broker.test/run", error="pay", with_schema=True)
    assert json.loads(bytes(answer.body))["inputSchema"]["properties"]["size"]["enum"] == SIZES
    header: dict[str, Any] = json.loads(base64.b64decode(answer.headers["PAYMENT-REQUIRED"]))
    body = header["extensions"]["bazaar"]["schema"]["properties"]["input"]["properties"]["body"]
    assert body["required"] == ["code"]
    assert body["properties"] == {
        "code": {"type": "string"},
        "size": {"type": "string", "enum": SIZES},
        "timeout": {"type": "number"},
    }
    assert len(answer.headers["PAYMENT-REQUIRED"]) < 4096
