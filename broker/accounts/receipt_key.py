"""The key that signs receipts: made once per database, so that all its brokers sign alike.

It holds no money and authorises nothing; whoever steals it can forge receipts.
"""

import hashlib
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from broker.accounts.tables import broker_keys
from shared.clock import Clock
from shared.database import Database
from shared.receipts import signable_receipt

NAME = "receipts"


class ReceiptKey:
    """Signs receipts (EIP-712, secp256k1). `address` is what third parties check against."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address = str(account.address)

    def sign(self, receipt: dict[str, Any]) -> dict[str, Any]:
        """`receipt` with its signature. Raises `ValueError` for one that is not complete."""
        signature = self._account.sign_message(signable_receipt(receipt)).signature
        return {**receipt, "signature": "0x" + bytes(signature).hex()}

    def secret_for(self, purpose: str) -> bytes:
        """32 bytes that only the brokers on this database know, another for every purpose."""
        return hashlib.blake2b(purpose.encode(), key=bytes(self._account.key), digest_size=32).digest()


async def receipt_key(database: Database, clock: Clock) -> ReceiptKey:
    """The database's key; of several brokers that start at once, one makes it and all get the same."""
    fresh = Account.create()
    insert = (sqlite_insert if database.is_sqlite else postgres_insert)(broker_keys).values(
        name=NAME,
        private_key="0x" + bytes(fresh.key).hex(),
        address=str(fresh.address),
        created_at=int(clock() * 1000),
    )
    await database.write(lambda connection: connection.execute(insert.on_conflict_do_nothing()))
    query = select(broker_keys.c.private_key).where(broker_keys.c.name == NAME)
    kept = await database.read(lambda connection: connection.execute(query).scalar_one())
    return ReceiptKey(Account.from_key(kept))
