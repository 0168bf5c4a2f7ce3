"""The parts of accounts, built together when the broker starts."""

from dataclasses import dataclass

from broker.accounts.history import History
from broker.accounts.receipt_key import ReceiptKey, receipt_key
from broker.accounts.sign_in import SignIn
from broker.accounts.visitor import Visitors
from shared.clock import Clock
from shared.database import Database
from shared.networks import Network


@dataclass(frozen=True)
class Accounts:
    """What `app.state.accounts` is."""

    sign_in: SignIn
    visitors: Visitors
    history: History
    key: ReceiptKey

    async def sweep(self) -> int:
        """Delete what has expired; returns how many rows."""
        return await self.sign_in.sweep()


async def open_accounts(
    database: Database, network: Network, clock: Clock, operator_token: str | None
) -> Accounts:
    """Build the accounts on a migrated `database`; makes the receipt key when there is none yet."""
    key = await receipt_key(database, clock)
    sign_in = SignIn(database, clock, network.chain_id)
    return Accounts(sign_in, Visitors(sign_in, operator_token), History(database, network, key), key)
