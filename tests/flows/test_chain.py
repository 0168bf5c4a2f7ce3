"""Asking a real chain what became of an authorization."""

import secrets

import httpx
import pytest

from broker.payments.chain import Chain, OnChain
from shared.networks import network_named
from tests.support.services import Stack
from tests.support.wallets import Wallet

ASSET = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
EXTRA = {"name": "USDC", "version": "2"}


def settle(stack: Stack, wallet: Wallet, nonce: str) -> str:
    """Pay 7 atomic units to nobody; returns the transaction."""
    to = "0x000000000000000000000000000000000000dead"
    payload = wallet.payload(ASSET, to, 7, EXTRA, nonce=nonce)
    head = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"}
    requirements = {
        **{"scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "7", "payTo": to},
        **{"resource": "http://x/", "description": "", "mimeType": "", "maxTimeoutSeconds": 60},
        **{"asset": ASSET, "extra": EXTRA},
    }
    body = {
        "x402Version": 1,
        "paymentPayload": {**head, "payload": payload},
        "paymentRequirements": requirements,
    }
    answer = httpx.post(stack.devnet + "/settle", json=body, trust_env=False, verify=False, timeout=60).json()
    assert answer["success"], answer
    return str(answer["transaction"])


async def test_used_and_unused_authorizations_are_told_apart_and_the_transaction_is_found(
    stack: Stack, wallet: Wallet
) -> None:
    chain = Chain(f"{stack.devnet}/rpc", network_named("base-sepolia"))
    used, unused = "0x" + secrets.token_hex(32), "0x" + secrets.token_hex(32)
    transaction = settle(stack, wallet, used)
    try:
        payer = wallet.address.lower()
        assert await chain.authorization(payer, used, age_s=5) == OnChain("used", transaction)
        assert await chain.authorization(payer, unused, age_s=5) == OnChain("unused")
    finally:
        await chain.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/not/json"])
async def test_a_chain_that_does_not_answer_says_nothing(url: str) -> None:
    chain = Chain(url, network_named("base-sepolia"))
    try:
        assert await chain.authorization("0x" + "aa" * 20, "0x" + "cc" * 32, age_s=5) is None
    finally:
        await chain.close()
