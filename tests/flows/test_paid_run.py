"""The paid run, end to end: real services, real signatures, real balances on a real chain."""

import base64
import json

import httpx
import pytest
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from tests.flows.old_client import needs_old_client, paid_by_old_client
from tests.support.services import HOST_WALLET, Stack
from tests.support.wallets import Wallet, b64, funded_wallet, new_wallet, receipt_of

HELLO = {"code": "print('hello')"}


def challenge_of(http: httpx.Client, body: dict[str, object] = HELLO, path: str = "/run") -> httpx.Response:
    response = http.post(path, json=body)
    assert response.status_code == 402, response.text
    return response


def price_of(challenge: httpx.Response) -> int:
    return int(challenge.json()["accepts"][0]["maxAmountRequired"])


async def test_the_packages_v2_client_pays_and_gets_its_run(stack: Stack, wallet: Wallet) -> None:
    before, host_before = stack.balance(wallet.address), stack.balance(HOST_WALLET)
    payer = x402Client()
    register_exact_evm_client(payer, wallet.account)
    async with x402HttpxClient(payer, base_url=stack.broker, timeout=90) as client:
        response = await client.post("/run", json={"code": "print(6 * 7)", "language": "python"})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["status"] == "completed"
    assert body["provider"] == "local"
    assert body["result"]["stdout"] == "42\n"
    assert body["result"]["exitCode"] == 0
    assert body["result"]["isolation"] != "none"
    receipt = receipt_of(response)
    assert receipt["success"] is True
    assert receipt["network"] == "eip155:84532"
    assert receipt["payer"].lower() == wallet.address.lower()
    spent = before - stack.balance(wallet.address)
    assert spent == stack.balance(HOST_WALLET) - host_before == round(float(body["price_usd"]) * 1e6) > 0
    mined = httpx.post(
        f"{stack.devnet}/rpc",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "eth_getTransactionReceipt",
            "params": [receipt["transaction"]],
        },
        timeout=60,
    ).json()["result"]
    assert int(mined["status"], 16) == 1


@needs_old_client
def test_an_old_v1_client_pays_and_gets_its_run(stack: Stack, wallet: Wallet) -> None:
    before = stack.balance(wallet.address)
    body = paid_by_old_client(stack, "/run", wallet, {"code": "print('from v1')"})
    assert body["result"]["stdout"] == "from v1\n"
    assert before - stack.balance(wallet.address) == round(float(body["price_usd"]) * 1e6)


@pytest.mark.parametrize("path", ["/run", "/execute"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_hand_signed_request_pays_exactly_the_price_it_was_told(
    stack: Stack, wallet: Wallet, http: httpx.Client, version: int, path: str
) -> None:
    challenge = challenge_of(http, path=path)
    before = stack.balance(wallet.address)
    headers = wallet.pay_v1(challenge) if version == 1 else wallet.pay_v2(challenge)
    response = http.post(path, json=HELLO, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json()["result"]["stdout"] == "hello\n"
    assert before - stack.balance(wallet.address) == price_of(challenge)
    assert ("X-PAYMENT-RESPONSE" if version == 1 else "PAYMENT-RESPONSE") in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_v1_takes_raw_json_in_its_header(wallet: Wallet, http: httpx.Client) -> None:
    header = base64.b64decode(wallet.pay_v1(challenge_of(http))["X-PAYMENT"]).decode()
    assert http.post("/run", json=HELLO, headers={"X-PAYMENT": header}).status_code == 200


def test_the_402_serves_both_protocol_versions(http: httpx.Client) -> None:
    challenge = challenge_of(http)
    body = challenge.json()
    assert body["x402Version"] == 1
    assert body["success"] is False
    (v1,) = body["accepts"]
    assert None not in v1.values()
    assert "outputSchema" not in v1
    assert v1["network"] == "base-sepolia"
    assert v1["resource"].startswith("http://127.0.0.1")
    assert v1["resource"].endswith("/run")
    v2 = json.loads(base64.b64decode(challenge.headers["PAYMENT-REQUIRED"]))
    assert v2["x402Version"] == 2
    (accepted,) = v2["accepts"]
    assert accepted["network"] == "eip155:84532"
    assert accepted["amount"] == v1["maxAmountRequired"]
    assert accepted["extra"]["quoteId"]
    assert len(accepted["extra"]["requestHash"]) == 64
    assert challenge.headers["Cache-Control"] == "no-store"
    assert challenge.headers["X-Request-ID"]


def test_an_empty_body_names_the_starting_price_and_cannot_be_paid(
    wallet: Wallet, http: httpx.Client
) -> None:
    challenge = http.post("/run")
    assert challenge.status_code == 402
    assert "code" in challenge.json()["inputSchema"]["properties"]
    assert price_of(challenge) < price_of(challenge_of(http))
    paid = http.post("/run", headers=wallet.pay_v1(challenge))
    assert paid.status_code == 400


def test_code_that_exits_3_is_work_done_and_charged(stack: Stack, wallet: Wallet, http: httpx.Client) -> None:
    body = {"code": "import sys\nprint('so far')\nsys.exit(3)"}
    challenge = challenge_of(http, body)
    before = stack.balance(wallet.address)
    response = http.post("/run", json=body, headers=wallet.pay_v2(challenge))
    assert response.status_code == 200
    assert response.json()["result"]["exitCode"] == 3
    assert response.json()["result"]["stdout"] == "so far\n"
    assert before - stack.balance(wallet.address) == price_of(challenge)


def test_code_that_runs_too_long_is_stopped_and_charged(
    stack: Stack, wallet: Wallet, http: httpx.Client
) -> None:
    body = {"code": "import time; time.sleep(30)", "timeout": 1}
    challenge = challenge_of(http, body)
    before = stack.balance(wallet.address)
    response = http.post("/run", json=body, headers=wallet.pay_v2(challenge))
    assert response.json()["result"]["timedOut"] is True
    assert before - stack.balance(wallet.address) == price_of(challenge)


@pytest.mark.parametrize(
    ("code", "language", "needs"),
    [("console.log(1 + 1)", "javascript", "node"), ("echo $((1 + 1))", "bash", "bash")],
)
def test_other_languages_run_too(
    http: httpx.Client, wallet: Wallet, code: str, language: str, needs: str
) -> None:
    body = {"code": code, "language": language}
    first = http.post("/run", json=body)
    if first.status_code == 503:
        pytest.skip(f"{needs} is not on this machine")
    assert http.post("/run", json=body, headers=wallet.pay_v1(first)).json()["result"]["stdout"] == "2\n"


def test_a_job_can_be_looked_up_by_all_its_names(http: httpx.Client, wallet: Wallet) -> None:
    paid = http.post("/run", json=HELLO, headers={**wallet.pay_v2(challenge_of(http)), "x-wallet": "mine"})
    job_id = paid.json()["jobId"]
    views = [http.get(f"/{name}/{job_id}").json() for name in ("status", "job", "jobs")]
    assert views[0] == views[1] == views[2]
    view = views[0]
    assert view["status"] == "completed"
    assert view["requester"] == wallet.address.lower()
    assert view["result"]["stdout"] == "hello\n"
    assert view["payment"]["state"] == "settled"
    assert view["payment"]["transaction"] == receipt_of(paid)["transaction"]
    missing = http.get("/status/no-such-job")
    assert missing.status_code == 404
    assert missing.json()["error"] == "not-found"


def test_the_same_authorization_again_gives_the_same_result_and_receipt_without_a_second_run(
    stack: Stack, wallet: Wallet, http: httpx.Client
) -> None:
    body = {"code": "import os; print(os.urandom(16).hex())"}
    headers = wallet.pay_v2(challenge_of(http, body))
    first = http.post("/run", json=body, headers=headers)
    balance = stack.balance(wallet.address)
    second = http.post("/run", json=body, headers=headers)
    assert (second.status_code, second.json()) == (200, first.json())
    assert receipt_of(second) == receipt_of(first)
    assert stack.balance(wallet.address) == balance


def test_an_authorization_used_for_another_request_is_a_409(
    stack: Stack, wallet: Wallet, http: httpx.Client
) -> None:
    headers = wallet.pay_v1(challenge_of(http))
    assert http.post("/run", json=HELLO, headers=headers).status_code == 200
    balance = stack.balance(wallet.address)
    other = http.post("/run", json={"code": "print('something else')"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["code"] == "authorization_used"
    assert stack.balance(wallet.address) == balance


def test_a_wallet_without_money_gets_a_fresh_402_and_nothing_runs(http: httpx.Client, stack: Stack) -> None:
    poor = new_wallet()
    response = http.post("/run", json=HELLO, headers=poor.pay_v2(challenge_of(http)))
    assert response.status_code == 402
    assert "insufficient" in response.json()["code"]
    assert stack.balance(poor.address) == 0


def test_a_price_below_the_offer_is_not_taken(wallet: Wallet, http: httpx.Client, stack: Stack) -> None:
    challenge = challenge_of(http)
    before = stack.balance(wallet.address)
    response = http.post("/run", json=HELLO, headers=wallet.pay_v1(challenge, value="1"))
    assert response.status_code == 402
    assert response.json()["code"] == "offer_expired"
    assert stack.balance(wallet.address) == before


def test_max_cost_is_honoured_before_any_402(http: httpx.Client) -> None:
    response = http.post("/run", json={**HELLO, "maxCostUsd": "0.0001"})
    assert response.status_code == 400
    assert response.json()["code"] == "max_cost_exceeded"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"code"', b'{"code": 1}', b'{"code": ""}', b"\xff\xfe"])
def test_a_malformed_body_is_a_400_and_never_a_402(http: httpx.Client, body: bytes) -> None:
    response = http.post("/run", content=body or b"{}")
    assert response.status_code == 400
    assert "PAYMENT-REQUIRED" not in response.headers


def test_missing_code_is_named_before_any_402(http: httpx.Client) -> None:
    for path in ("/run", "/execute"):
        response = http.post(path, json={"language": "python"})
        assert (response.status_code, response.json()["error"]) == (400, "code is required")


def test_an_unknown_language_is_a_400_that_names_the_known_ones(http: httpx.Client) -> None:
    response = http.post("/run", json={"code": "x", "language": "cobol"})
    assert response.status_code == 400
    for known in ("python", "javascript", "bash"):
        assert known in response.json()["error"]


def test_a_body_over_10_mb_is_a_413(http: httpx.Client) -> None:
    response = http.post("/run", json={"code": "#" * (10 * 1024 * 1024)})
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_malformed_payment_headers_are_400(http: httpx.Client, wallet: Wallet) -> None:
    good = wallet.pay_v1(challenge_of(http))["X-PAYMENT"]
    for header in ("garbage", b64([]), b64({"x402Version": 3}), b64({"x402Version": 1}), good[:-20]):
        response = http.post("/run", json=HELLO, headers={"X-PAYMENT": header})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_payment"), header
    both = {"X-PAYMENT": good, "PAYMENT-SIGNATURE": good}
    assert http.post("/run", json=HELLO, headers=both).status_code == 400
    doubled = [("X-PAYMENT", good), ("X-PAYMENT", good)]
    assert http.post("/run", json=HELLO, headers=doubled).status_code == 400
    assert http.post("/run", json=HELLO, headers={"X-PAYMENT": "A" * 17_000}).status_code == 431


def test_no_spelling_of_the_path_runs_anything_for_free(http: httpx.Client) -> None:
    for method, path in [
        ("GET", "/run"),
        ("HEAD", "/run"),
        ("PUT", "/run"),
        ("POST", "/run/"),
        ("POST", "//run"),
        ("POST", "/RUN"),
        ("POST", "/%72un"),
        ("POST", "/run%2f"),
        ("POST", "/x/../run"),
    ]:
        response = http.request(method, http.base_url.copy_with(raw_path=path.encode()), json=HELLO)
        assert response.status_code in {402, 404, 405}, (method, path, response.status_code)


def test_the_price_told_is_the_price_paid_also_after_asking_again(http: httpx.Client, stack: Stack) -> None:
    wallet = funded_wallet(stack.devnet)
    first = challenge_of(http)
    headers = wallet.pay_v2(first)
    challenge_of(http)
    assert http.post("/run", json=HELLO, headers=headers).status_code == 200


def test_a_large_result_is_spooled_to_disk_and_delivered_whole_twice(
    stack: Stack, wallet: Wallet, http: httpx.Client
) -> None:
    body = {"code": "import os; open('out/big', 'wb').write(os.urandom(3_000_000))"}
    headers = wallet.pay_v2(challenge_of(http, body))
    first = http.post("/run", json=body, headers=headers)
    assert first.status_code == 200
    (file,) = first.json()["result"]["files"]
    assert len(base64.b64decode(file["content"])) == 3_000_000
    job_id = first.json()["jobId"]
    spooled = stack.home / "results" / f"{job_id}.json"
    assert spooled.read_bytes() == first.content
    assert spooled.stat().st_mode & 0o077 == 0 or (stack.home / "results").stat().st_mode & 0o077 == 0
    assert http.post("/run", json=body, headers=headers).content == first.content
    assert http.get(f"/status/{job_id}").json()["result"] == first.json()["result"]


def test_a_payment_identifier_gives_the_first_result_whatever_is_signed_later(
    stack: Stack, wallet: Wallet, http: httpx.Client
) -> None:
    body = {"code": "import os; print(os.urandom(16).hex())"}
    challenge = challenge_of(http, body)
    required = json.loads(base64.b64decode(challenge.headers["PAYMENT-REQUIRED"]))
    assert required["extensions"]["payment-identifier"]["info"] == {"required": False}
    first = http.post("/run", json=body, headers=identified(wallet.pay_v2(challenge), "order-0000000042"))
    assert first.status_code == 200, first.text
    balance = stack.balance(wallet.address)
    again = http.post("/run", json=body, headers=identified(wallet.pay_v2(challenge), "order-0000000042"))
    assert (again.status_code, again.json()) == (200, first.json())
    assert stack.balance(wallet.address) == balance
    other = challenge_of(http)
    clash = http.post("/run", json=HELLO, headers=identified(wallet.pay_v2(other), "order-0000000042"))
    assert (clash.status_code, clash.json()["code"]) == (409, "authorization_used")
    short = http.post("/run", json=HELLO, headers=identified(wallet.pay_v2(other), "short"))
    assert short.status_code == 400
    assert stack.balance(wallet.address) == balance


def identified(headers: dict[str, str], name: str) -> dict[str, str]:
    """A v2 payment header with a payment-identifier of the client's."""
    envelope = json.loads(base64.b64decode(headers["PAYMENT-SIGNATURE"]))
    envelope["extensions"] = {"payment-identifier": {"info": {"required": False, "id": name}}}
    return {"PAYMENT-SIGNATURE": b64(envelope)}
