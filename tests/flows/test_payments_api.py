"""A payer's view of its payments, over the real stack: sign in, list, check receipts; and attacks on it."""

import base64
import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.messages import encode_defunct

from shared.receipts import verify_receipt
from tests.flows.test_startup import galaksio, run_module
from tests.support.services import HOST_WALLET, Stack
from tests.support.wallets import Wallet, new_wallet, receipt_of

OPERATOR = "an-operators-long-token"
BODY = {"code": "print('shown later')"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def sign(wallet: Wallet, text: str) -> str:
    return "0x" + bytes(wallet.account.sign_message(encode_defunct(text=text)).signature).hex()


def sign_in(http: httpx.Client, wallet: Wallet) -> dict[str, str]:
    """The Authorization header of a new session."""
    issued = http.post("/auth/nonce", json={"address": wallet.address}).raise_for_status().json()
    answer = http.post(
        "/auth/verify", json={"message": issued["message"], "signature": sign(wallet, issued["message"])}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["address"] == wallet.address
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def pay(http: httpx.Client, wallet: Wallet) -> httpx.Response:
    challenge = http.post("/run", json=BODY)
    paid = http.post("/run", json=BODY, headers=wallet.pay_v2(challenge))
    assert paid.status_code == 200, paid.text
    return paid


def test_a_payer_finds_its_payment_with_a_receipt_that_anyone_can_check(
    http: httpx.Client, wallet: Wallet
) -> None:
    paid = pay(http, wallet)
    session = sign_in(http, wallet)
    listed = http.get("/payments", headers=session)
    assert listed.headers["Cache-Control"] == "no-store"
    [payment] = listed.json()["payments"]
    assert listed.json()["nextCursor"] is None
    assert (payment["state"], payment["operation"], payment["provider"]) == ("settled", "run", "local")
    assert payment["jobId"] == paid.json()["jobId"]
    assert payment["transaction"] == receipt_of(paid)["transaction"]
    assert payment["amountUsd"] == paid.json()["price_usd"]
    assert payment["payTo"].lower() == HOST_WALLET
    assert http.get(f"/payments/{payment['id']}", headers=session).json() == payment
    receipt = payment["receipt"]
    key = http.get("/.well-known/x402").json()["receiptKey"]["address"]
    assert http.get("/").json()["payment"]["receiptKey"] == key
    assert verify_receipt(receipt, key)
    assert not verify_receipt({**receipt, "amount": "1"}, key)
    assert receipt["resultHash"] == hashlib.sha256(paid.content).hexdigest()
    challenge = json.loads(base64.b64decode(http.post("/run", json=BODY).headers["PAYMENT-REQUIRED"]))
    assert receipt["requestHash"] == challenge["accepts"][0]["extra"]["requestHash"]


def test_without_a_session_nothing_is_shown_and_another_payers_payment_does_not_exist(
    http: httpx.Client, wallet: Wallet
) -> None:
    pay(http, wallet)
    [payment] = http.get("/payments", headers=sign_in(http, wallet)).json()["payments"]
    for headers in (
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic eDp5"},
        {"x-wallet": wallet.address},
    ):
        for path in ("/payments", f"/payments/{payment['id']}", "/payments/unknown"):
            refused = http.get(path, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized"), path
            assert refused.headers["WWW-Authenticate"] == "Bearer"
    stranger = sign_in(http, new_wallet())
    assert http.get("/payments", headers=stranger).json() == {"payments": [], "nextCursor": None}
    answers = [
        http.get(f"/payments/{id_}", headers=stranger)
        for id_ in (payment["id"], "11111111-1111-4111-8111-111111111111", "%00", "' OR 1=1 --", "x" * 5000)
    ]
    bodies = [{k: v for k, v in answer.json().items() if k != "requestId"} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)


def test_a_signature_is_good_once_and_for_the_issued_text_only(http: httpx.Client, wallet: Wallet) -> None:
    issued = http.post("/auth/nonce", json={"address": wallet.address}).json()
    good = {"message": issued["message"], "signature": sign(wallet, issued["message"])}
    assert http.post("/auth/verify", json=good).status_code == 200
    replay = http.post("/auth/verify", json=good)
    assert (replay.status_code, replay.json()["code"]) == (401, "sign_in_refused")
    for old, new in (
        (http.base_url.host, "evil.test"),
        ("84532", "8453"),
        (wallet.address, new_wallet().address),
    ):
        issued = http.post("/auth/nonce", json={"address": wallet.address}).json()
        text = issued["message"].replace(old, new)
        assert text != issued["message"]
        for body in (
            {"message": text},
            {"message": text, "nonce": issued["nonce"]},
            {"nonce": issued["nonce"]},
        ):
            refused = http.post("/auth/verify", json={**body, "signature": sign(wallet, text)})
            assert (refused.status_code, refused.json()["code"]) == (401, "sign_in_refused")


def test_the_text_names_this_broker_whatever_host_the_request_claims(
    http: httpx.Client, wallet: Wallet
) -> None:
    evil = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "Forwarded": "host=evil.test"}
    issued = http.post("/auth/nonce", json={"address": wallet.address}, headers=evil).json()
    assert "evil" not in issued["message"]
    assert issued["message"].startswith(f"{http.base_url.netloc.decode()} wants you to sign in")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"address": "0x12"},
        {"address": "0x" + "1" * 41},
        {"address": "vitalik.eth"},
        {"address": "0x52908400098527886E0F7030069857D2E4169Ee7"},
        {"address": None},
        [],
    ],
)
def test_an_address_that_is_none_is_refused(http: httpx.Client, body: object) -> None:
    assert http.post("/auth/nonce", json=body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"nonce": "a" * 32},
        {"nonce": "a" * 32, "signature": "0x" + "11" * 64},
        {"nonce": "a" * 32, "signature": "0x" + "11" * 200},
        {"nonce": "'; DROP TABLE sessions; --", "signature": "0x" + "11" * 65},
        {"message": "x" * 2001, "signature": "0x" + "11" * 65},
    ],
)
def test_a_malformed_verification_is_refused(http: httpx.Client, body: object) -> None:
    assert http.post("/auth/verify", json=body).status_code == 422


def test_signing_out_closes_the_session(http: httpx.Client) -> None:
    session = sign_in(http, new_wallet())
    assert http.get("/payments", headers=session).status_code == 200
    assert http.post("/auth/logout", headers=session).status_code == 204
    assert http.get("/payments", headers=session).status_code == 401
    assert http.post("/auth/logout", headers=session).status_code == 204
    assert http.post("/auth/logout").status_code == 401


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "state=paid", "state=settled'--", "cursor=" + "A" * 201]
)
def test_a_bad_query_is_refused(http: httpx.Client, query: str) -> None:
    assert http.get(f"/payments?{query}", headers=sign_in(http, new_wallet())).status_code == 422


def test_a_forged_cursor_is_a_400(http: httpx.Client) -> None:
    session = sign_in(http, new_wallet())
    for cursor in ("A" * 48, "' OR '1'='1", "\x00", "1; DROP TABLE payments"):
        refused = http.get("/payments", params={"cursor": cursor}, headers=session)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")


def test_a_session_and_the_receipt_key_are_good_at_every_broker_and_the_operator_sees_all(
    stack: Stack, http: httpx.Client, wallet: Wallet
) -> None:
    paid = pay(http, wallet)
    session = sign_in(http, wallet)
    key = http.get("/.well-known/x402").json()["receiptKey"]["address"]
    second = stack.launch("broker", "operators", OPERATOR_TOKEN=OPERATOR).wait_ready()
    try:
        with httpx.Client(base_url=second.url, timeout=30, trust_env=False, verify=False) as other:
            assert other.get("/.well-known/x402").json()["receiptKey"]["address"] == key
            [mine] = other.get("/payments", headers=session).json()["payments"]
            assert mine["jobId"] == paid.json()["jobId"]
            assert verify_receipt(mine["receipt"], key)
            operator = {"Authorization": f"Bearer {OPERATOR}"}
            first = other.get("/payments?limit=1&state=settled", headers=operator).json()
            assert [row["id"] for row in first["payments"]] == [mine["id"]]
            assert other.get(f"/payments/{mine['id']}", headers=operator).status_code == 200
            for guess in (OPERATOR[:-1], OPERATOR + "x", OPERATOR.upper(), "None", '""'):
                refused = other.get("/payments", headers={"Authorization": f"Bearer {guess}"})
                assert refused.status_code == 401
        assert http.get("/payments", headers=operator).status_code == 401, "this broker has no operator token"
        assert OPERATOR not in second.output()
    finally:
        second.stop()


def test_a_short_operator_token_stops_the_start(tmp_path: Path) -> None:
    ended = run_module("broker", tmp_path, X402_WALLET_ADDRESS=HOST_WALLET, OPERATOR_TOKEN="short")
    assert ended.returncode != 0
    assert "OPERATOR_TOKEN" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_discovery_lists_what_is_sold_with_prices_that_the_402_confirms(
    http: httpx.Client, stack: Stack
) -> None:
    answer = discovered(http)
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    document = answer.json()
    assert (document["version"], document["x402Version"], document["versions"]) == (1, 1, [1, 2])
    assert document["resources"] == [
        stack.broker + route for route in ("/run", "/execute", "/store", "/cache")
    ]
    assert document["payTo"].lower() == HOST_WALLET
    assert document["network"] == "base-sepolia"
    *items, cache = document["items"]
    assert cache["accepts"] == [], "this host has no Redis"
    for item in items:
        challenge = httpx.post(item["resource"], trust_env=False, verify=False, timeout=60)
        assert challenge.status_code == 402
        [told] = challenge.json()["accepts"]
        assert item["accepts"] == [told]
        assert item["priceFromAtomic"] == told["maxAmountRequired"]
        [v2] = json.loads(base64.b64decode(challenge.headers["PAYMENT-REQUIRED"]))["accepts"]
        [shown] = item["acceptsV2"]
        assert set(v2["extra"]) - set(shown["extra"]) == {"quoteId", "requestHash"}
        assert {**v2, "extra": shown["extra"]} == shown
        assert item["inputSchema"]["required"] == [{"/store": "data"}.get(challenge.request.url.path, "code")]
        asked = httpx.post(item["resource"], json=item["example"], trust_env=False, verify=False, timeout=60)
        assert asked.status_code == 402
    assert v2_schema(http.post("/run"))["size"] == {"type": "string", "enum": ["small", "medium", "large"]}
    assert discovered(http, "/.well-known/x402.json").json() == document


def discovered(http: httpx.Client, path: str = "/.well-known/x402") -> httpx.Response:
    """With all prices but a cache's: those that take long are left out, and found by a later look."""
    deadline = time.monotonic() + 20
    while True:
        answer = http.get(path)
        *items, _ = answer.json()["items"]
        if all(item["accepts"] and item["prices"] for item in items) or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def test_the_prices_shown_for_each_size_are_what_its_402_asks(http: httpx.Client) -> None:
    runs = discovered(http).json()["items"][:2]
    shown = http.get("/").json()["sells"][0]["prices"]
    assert {row["size"] for row in shown} == {"small", "medium", "large"}
    assert [item["prices"] for item in runs] == [shown, shown]
    for row in shown:
        challenge = http.post("/run", json={"code": "1", "size": row["size"], "timeout": row["timeout"]})
        assert challenge.json()["accepts"][0]["maxAmountRequired"] == row["priceAtomic"]


def v2_schema(challenge: httpx.Response) -> dict[str, Any]:
    """The fields that the v2 challenge of an empty body describes."""
    required = json.loads(base64.b64decode(challenge.headers["PAYMENT-REQUIRED"]))
    body = required["extensions"]["bazaar"]["schema"]["properties"]["input"]["properties"]["body"]
    fields: dict[str, Any] = body["properties"]
    return fields


def test_a_browser_gets_a_page_and_everybody_else_json(http: httpx.Client) -> None:
    page = http.post("/run", json=BODY, headers=BROWSER)
    plain = http.post("/run", json=BODY)
    assert page.status_code == plain.status_code == 402
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert plain.headers["Content-Type"] == "application/json"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Accept" in page.headers["Vary"]
    shown, told = (json.loads(base64.b64decode(r.headers["PAYMENT-REQUIRED"])) for r in (page, plain))
    assert shown == told, "the page carries the same challenge in its header"
    assert plain.json()["accepts"][0]["payTo"] in page.text


def test_opening_a_paid_address_shows_what_is_sold_and_runs_nothing(
    http: httpx.Client, wallet: Wallet
) -> None:
    page = http.get("/run", headers=BROWSER)
    assert page.status_code == 402
    assert "from " in page.text
    challenge = json.loads(base64.b64decode(page.headers["PAYMENT-REQUIRED"]))
    assert challenge["resource"]["url"].endswith("/run")
    assert http.get("/run").status_code == 405
    assert http.get("/run", headers={"Accept": "application/json"}).status_code == 405
    assert http.put("/run", headers=BROWSER).status_code == 405
    assert http.head("/run", headers=BROWSER).status_code == 405
    paying = wallet.pay_v2(http.post("/run", json=BODY))
    tried = http.request("GET", "/run", json=BODY, headers={**BROWSER, **paying})
    assert tried.status_code == 405
    assert http.get("/payments", headers=sign_in(http, wallet)).json()["payments"] == []


def test_galaksio_payments_lists_and_checks_what_was_paid(
    stack: Stack, http: httpx.Client, wallet: Wallet, tmp_path: Path
) -> None:
    home = tmp_path / "home"

    def payments(*words: str) -> subprocess.CompletedProcess[str]:
        return galaksio("payments", *words, cwd=tmp_path, home=home, COLUMNS="200")

    assert "not logged in" in payments().stderr
    for url in (stack.broker, stack.broker.replace("127.0.0.1", "localhost")):
        assert galaksio("login", "-k", wallet.key, "--url", url, cwd=tmp_path, home=home).returncode == 0
        empty = payments()
        assert (empty.returncode, empty.stdout.strip()) == (0, "No payments yet."), empty.stderr
    transactions = [receipt_of(pay(http, wallet))["transaction"] for _ in range(3)]
    listed = payments()
    assert listed.returncode == 0, listed.stderr
    assert all(transaction in listed.stdout for transaction in transactions)
    assert listed.stdout.count("valid") == listed.stdout.count("settled") == 3
    assert payments("-n", "2").stdout.count("settled") == 2
    assert wallet.key[2:] not in listed.stdout + listed.stderr


def test_quote_being_down_takes_prices_away_and_nothing_else(tmp_path: Path) -> None:
    from tests.support.services import running_stack

    with running_stack(tmp_path / "stack") as broken:
        broken.processes["quote"].kill()
        answer = httpx.get(f"{broken.broker}/.well-known/x402", timeout=60, trust_env=False, verify=False)
        assert answer.status_code == 200
        assert len(answer.json()["resources"]) == 4
        for item in answer.json()["items"]:
            assert (item["priceFromUsd"], item["accepts"], item["prices"]) == (None, [], [])
        assert (
            httpx.get(broken.broker, timeout=60, trust_env=False, verify=False).json()["sells"][0]["prices"]
            == []
        )
        refused = httpx.get(
            f"{broken.broker}/run", headers=BROWSER, timeout=60, trust_env=False, verify=False
        )
        assert refused.status_code == 503
