"""A wallet that signs in, and payments written straight into the ledger's tables."""

import json
import uuid
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sqlalchemy import Connection, insert

from broker.accounts.sign_in import SignIn
from broker.tables import jobs, payments
from shared.database import Database
from shared.networks import Network
from tests.broker.conftest import FakeClock

BASE = "https://broker.test"
ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20


def sign(account: LocalAccount, text: str) -> str:
    return "0x" + bytes(account.sign_message(encode_defunct(text=text)).signature).hex()


@pytest.fixture
def account() -> LocalAccount:
    account: LocalAccount = Account.create()
    return account


@pytest.fixture
def sign_in(database: Database, clock: FakeClock, network: Network) -> SignIn:
    return SignIn(database, clock, network.chain_id)


async def write_payment(
    database: Database, payer: str, *, at_ms: int, job: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A settled payment and its job as the ledger leaves them; returns the payment's id."""
    payment_id, job_id = str(uuid.uuid4()), str(uuid.uuid4())
    times = {"created_at": at_ms, "updated_at": at_ms + 500}
    row = {
        "id": payment_id,
        "chain_id": 84532,
        "asset": "0x036cbd53842c5426634e7929541ec2318f3dcf7e",
        "payer": payer,
        "nonce": "0x" + uuid.uuid4().hex * 2,
        "job_id": job_id,
        "request_hash": "ab" * 32,
        "offer_id": "offer",
        "state": "settled",
        "settle": "after",
        "owner": "nobody",
        "lease_until": 0,
        "attempts": 0,
        "amount_atomic": 5800,
        "pay_to": "0x" + "cc" * 20,
        "valid_before": 1,
        "x402_version": 2,
        "payload": "{}",
        "requirements": "{}",
        "transaction_hash": "0x" + "12" * 32,
        **times,
        **changes,
    }
    work = {
        "id": job_id,
        "operation": "run",
        "request_hash": "ab" * 32,
        "requester": payer,
        "provider": "local",
        "status": "completed",
        "quote": "{}",
        "time_limit_ms": 1000,
        "response": json.dumps({"result": 1}),
        "response_hash": "cd" * 32,
        **times,
        **(job or {}),
    }

    def insert_both(connection: Connection) -> None:
        connection.execute(insert(payments).values(row))
        connection.execute(insert(jobs).values(work))

    await database.write(insert_both)
    return payment_id
