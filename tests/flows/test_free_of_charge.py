"""`X402_ENABLED=false`: work is done for nothing, and the host is told so."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.services import Stack


@pytest.fixture(scope="module")
def free(stack: Stack) -> Iterator[httpx.Client]:
    """A further broker of the stack that charges nothing and knows no wallet."""
    process = stack.launch("broker", "free", X402_ENABLED="false", X402_WALLET_ADDRESS="").wait_ready()
    with httpx.Client(base_url=process.url, timeout=60, trust_env=False, verify=False) as client:
        yield client
    process.stop()


def test_a_run_needs_no_payment_and_can_be_looked_up(free: httpx.Client) -> None:
    answer = free.post("/run", json={"code": "print('gratis')"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["price_usd"], body["result"]["stdout"]) == ("completed", "0", "gratis\n")
    job = free.get(f"/status/{body['jobId']}").json()
    assert (job["status"], job["payment"], job["requester"]) == ("completed", None, "anonymous")
    assert job["result"] == body["result"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"code": ""}', b"nonsense"])
def test_a_malformed_request_is_still_a_400(free: httpx.Client, body: bytes) -> None:
    assert free.post("/run", content=body).status_code == 400


def test_the_host_is_warned_in_the_log_and_on_the_card(free: httpx.Client, stack: Stack) -> None:
    assert "nothing is charged" in free.get("/").json()["payment"]["warning"]
    assert "payments_are_off" in stack.processes["free"].output()
    assert free.get("/health/ready").json()["dependencies"]["facilitator"]["status"] == "disabled"
