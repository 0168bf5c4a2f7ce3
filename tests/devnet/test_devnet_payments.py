"""Verify and settle, v1 and v2, as a payer and a seller see them."""

import asyncio
import sqlite3
from typing import Any

import httpx
import pytest
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.mechanisms.evm.exact.client import ExactEvmScheme
from x402.mechanisms.evm.exact.v1.client import ExactEvmSchemeV1
from x402.schemas import PaymentPayload, PaymentPayloadV1, PaymentRequirements, PaymentRequirementsV1

from devnet.store import ChainStore
from tests.devnet.support import CHAIN_ID, NETWORKS, NONCE_USED, USDC, Client, FakeClock, Payer, payment

SELLER = Payer().address
PRICE = 5_001
FAUCET = 100_000_000

both = pytest.mark.parametrize("version", [1, 2])


@both
async def test_a_payment_is_verified_and_settled_and_moves_the_money_to_the_unit(
    devnet: Client, clock: FakeClock, version: int
) -> None:
    payer = await devnet.funded()
    payload = payer.authorize(SELLER, PRICE, clock())
    body = payment(version, payload)

    assert await devnet.post("/verify", body) == {"isValid": True, "payer": payer.address}
    assert await devnet.used(payload) is False
    assert await devnet.balance(payer.address) == FAUCET

    settled = await devnet.post("/settle", body)
    assert settled == {
        "success": True,
        "transaction": settled["transaction"],
        "network": NETWORKS[version],
        "payer": payer.address,
        "extra": {"devnet": True},
    }
    assert await devnet.used(payload) is True
    assert await devnet.balance(payer.address) == FAUCET - PRICE
    assert await devnet.balance(SELLER) == PRICE
    receipt = await devnet.rpc("eth_getTransactionReceipt", settled["transaction"])
    assert receipt["status"] == "0x1"
    assert int(receipt["logs"][-1]["data"], 16) == PRICE


@both
async def test_stock_clients_pay_through_the_stock_facilitator_client(
    devnet: Client, clock: FakeClock, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = await devnet.funded()
    body = payment(version, payer.authorize(SELLER, PRICE, clock()))["paymentRequirements"]
    monkeypatch.setattr("time.time", clock)
    requirements: Any
    paid: Any
    if version == 2:
        requirements = PaymentRequirements.model_validate(body)
        inner = ExactEvmScheme(payer.account).create_payment_payload(requirements)
        paid = PaymentPayload(payload=inner, accepted=requirements)
    else:
        requirements = PaymentRequirementsV1.model_validate(body)
        inner = ExactEvmSchemeV1(payer.account).create_payment_payload(requirements)
        paid = PaymentPayloadV1(scheme="exact", network="base-sepolia", payload=inner)
    stock = HTTPFacilitatorClient(FacilitatorConfig(url="http://devnet", http_client=devnet.http))

    assert (await stock.verify(paid, requirements)).is_valid
    settled = await stock.settle(paid, requirements)
    assert settled.success
    assert settled.payer == payer.address
    assert settled.extra == {"devnet": True}
    assert await devnet.balance(SELLER) == PRICE


def _flip_last_bit(payload: dict[str, Any]) -> dict[str, Any]:
    signature = bytearray.fromhex(payload["signature"][2:])
    signature[40] ^= 1
    return {**payload, "signature": "0x" + signature.hex()}


@both
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("wrong signature", "invalid_exact_evm_payload_signature"),
        ("somebody else's signature", "invalid_exact_evm_payload_signature"),
        ("insufficient balance", "invalid_exact_evm_insufficient_balance"),
        ("expired", "invalid_exact_evm_payload_authorization_valid_before"),
        ("not yet valid", "invalid_exact_evm_payload_authorization_valid_after"),
        ("used nonce", NONCE_USED),
        ("another amount", "invalid_exact_evm_payload_authorization_value_mismatch"),
        ("another recipient", "invalid_exact_evm_payload_recipient_mismatch"),
        ("another token domain", "invalid_exact_evm_payload_signature"),
        ("no token domain", "missing_eip712_domain"),
    ],
)
async def test_a_bad_payment_is_refused_with_the_packages_reason_and_costs_nothing(
    devnet: Client, clock: FakeClock, version: int, case: str, reason: str
) -> None:
    payer = await devnet.funded()
    now = int(clock())
    payload = payer.authorize(SELLER, PRICE, now)
    changes: dict[str, Any] = {}
    if case == "wrong signature":
        payload = _flip_last_bit(payload)
    elif case == "somebody else's signature":
        other = Payer().authorize(SELLER, PRICE, now, nonce=payload["authorization"]["nonce"])
        payload["signature"] = other["signature"]
    elif case == "insufficient balance":
        payload = payer.authorize(SELLER, FAUCET + 1, now)
    elif case == "expired":
        payload = payer.authorize(SELLER, PRICE, now, valid_before=now - 1)
    elif case == "not yet valid":
        payload = payer.authorize(SELLER, PRICE, now, valid_after=now + 30)
    elif case == "used nonce":
        assert (await devnet.post("/settle", payment(version, payload)))["success"]
    elif case == "another amount":
        changes = {"amount" if version == 2 else "maxAmountRequired": str(PRICE + 1)}
    elif case == "another recipient":
        changes = {"payTo": Payer().address}
    elif case == "another token domain":
        changes = {"extra": {"name": "USD Coin", "version": "2"}}
    else:
        changes = {"extra": {}}
    body = payment(version, payload, **changes)
    nonce, balance = await devnet.facilitator_nonce(), await devnet.balance(payer.address)

    verified = await devnet.post("/verify", body)
    assert (verified["isValid"], verified["invalidReason"]) == (False, reason)
    settled = await devnet.post("/settle", body)
    assert (settled["success"], settled["errorReason"], settled["transaction"]) == (False, reason, "")
    assert await devnet.facilitator_nonce() == nonce
    assert await devnet.balance(payer.address) == balance


@pytest.mark.parametrize(
    ("version", "changes", "reason"),
    [
        (2, {"network": "eip155:8453"}, "network_mismatch"),
        (2, {"network": "base-sepolia"}, "network_mismatch"),
        (1, {"network": "base"}, "network_mismatch"),
        (1, {"network": "eip155:84532"}, "network_mismatch"),
        (2, {"scheme": "upto"}, "unsupported_scheme"),
        (1, {"scheme": "upto"}, "unsupported_scheme"),
        (2, {"asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"}, None),
        (1, {"asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"}, None),
    ],
)
async def test_another_network_scheme_or_token_is_refused_without_a_transaction(
    devnet: Client, clock: FakeClock, version: int, changes: dict[str, Any], reason: str | None
) -> None:
    payer = await devnet.funded()
    # Signed for the token that is asked for, so that nothing but the token itself can be in the way.
    payload = payer.authorize(SELLER, PRICE, clock(), asset=changes.get("asset", USDC))
    body = payment(version, payload, **changes)
    verified = await devnet.post("/verify", body)
    settled = await devnet.post("/settle", body)
    assert verified["isValid"] is False
    assert settled["success"] is False
    # Clients of x402 0.2 refuse an answer without a payer.
    assert verified["payer"] == settled["payer"] == payer.address
    if reason:
        assert (verified["invalidReason"], settled["errorReason"]) == (reason, reason)
    assert await devnet.facilitator_nonce() == 0


async def test_a_permit2_payload_is_refused_also_when_it_carries_an_authorization(
    devnet: Client, clock: FakeClock
) -> None:
    payer = await devnet.funded()
    payload = {**payer.authorize(SELLER, PRICE, clock()), "permit2Authorization": {"from": payer.address}}
    settled = await devnet.post("/settle", payment(2, payload))
    assert (settled["success"], settled["errorReason"]) == (False, "unsupported_scheme")


@both
@pytest.mark.parametrize("approves", [True, False])
async def test_a_payer_with_code_is_asked_itself_whether_it_signed(
    devnet: Client, clock: FakeClock, version: int, approves: bool
) -> None:
    # MSTORE(0, magic << 224); RETURN(0, 32): approves every signature (EIP-1271), or with 0 none.
    magic = "1626ba7e" if approves else "00000000"
    wallet = await devnet.deploy(bytes.fromhex(f"63{magic}60e01b5f5260205ff3"))
    await devnet.post("/faucet", {"address": wallet})
    payload = Payer().authorize(SELLER, PRICE, clock())
    payload["authorization"]["from"] = wallet
    payload["signature"] = "0x" + "ab" * 77
    settled = await devnet.post("/settle", payment(version, payload))
    assert settled["success"] is approves, settled
    assert await devnet.balance(SELLER) == (PRICE if approves else 0)


async def test_eight_parallel_settles_of_one_authorization_make_one_transaction(
    devnet: Client, clock: FakeClock
) -> None:
    payer = await devnet.funded()
    payload = payer.authorize(SELLER, PRICE, clock())
    head = int(await devnet.rpc("eth_blockNumber"), 16)

    answers = await asyncio.gather(
        *(devnet.post("/settle", payment(version, payload)) for version in (1, 2) * 4)
    )

    assert sum(answer["success"] for answer in answers) == 1
    assert {answer["errorReason"] for answer in answers if not answer["success"]} == {NONCE_USED}
    assert await devnet.facilitator_nonce() == 1
    assert int(await devnet.rpc("eth_blockNumber"), 16) == head + 1
    assert await devnet.balance(SELLER) == PRICE


async def test_forty_parallel_settles_of_forty_payers_all_succeed(devnet: Client, clock: FakeClock) -> None:
    payers = [await devnet.funded() for _ in range(40)]
    bodies = [payment(1 + i % 2, payer.authorize(SELLER, PRICE, clock())) for i, payer in enumerate(payers)]
    answers = await asyncio.gather(*(devnet.post("/settle", body) for body in bodies))
    assert all(answer["success"] for answer in answers)
    assert len({answer["transaction"] for answer in answers}) == 40
    assert await devnet.balance(SELLER) == 40 * PRICE
    assert await devnet.facilitator_nonce() == 40


@both
async def test_a_failed_send_leaves_no_trace_and_no_gap_in_the_nonce(
    devnet: Client, clock: FakeClock, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = await devnet.funded()
    payload = payer.authorize(SELLER, PRICE, clock())

    def full_disk(_: ChainStore) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(ChainStore, "commit", full_disk)
        failed = await devnet.post("/settle", payment(version, payload))
    assert (failed["success"], failed["errorReason"]) == (False, "transaction_failed")
    assert await devnet.used(payload) is False
    assert await devnet.facilitator_nonce() == 0

    assert (await devnet.post("/settle", payment(version, payload)))["success"]
    assert await devnet.facilitator_nonce() == 1
    assert await devnet.balance(payer.address) == FAUCET - PRICE


async def test_supported_lists_one_kind_for_each_version_and_the_facilitators_address(devnet: Client) -> None:
    supported = await devnet.get("/supported")
    assert sorted(supported["kinds"], key=lambda kind: int(kind["x402Version"])) == [
        {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
        {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
    ]
    assert supported["extensions"] == ["galaksio-devnet"]
    (signer,) = supported["signers"]["eip155:*"]
    assert int(await devnet.rpc("eth_getBalance", signer, "latest"), 16) > 10**26


def test_the_stock_client_reads_supported_over_real_http(devnet_url: str) -> None:
    stock = HTTPFacilitatorClient(FacilitatorConfig(url=devnet_url))
    assert {(kind.x402_version, kind.network) for kind in stock.get_supported().kinds} == {
        (1, "base-sepolia"),
        (2, "eip155:84532"),
    }
    health = httpx.get(f"{devnet_url}/health", timeout=60, trust_env=False, verify=False).json()
    assert (health["chainId"], health["asset"]) == (CHAIN_ID, USDC)
