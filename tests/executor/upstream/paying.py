"""A payer under test, and a look into its journal."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from executor.settings import ExecutorSettings
from executor.upstream.base import Answer, Order, Spending
from executor.upstream.errors import UpstreamResting
from executor.upstream.opening import choose_upstream
from executor.upstream.payer import Payer
from executor.upstream.tables import payments
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.settings import load_settings
from tests.support.wallets import Wallet
from tests.upstream.merit_systems import PATH
from tests.upstream.upstreams import Upstreams

DOLLAR = 1_000_000


def settings_of(home: Path, **more: str) -> ExecutorSettings:
    return load_settings(ExecutorSettings, {"GALAKSIO_HOME": str(home), **more})


@asynccontextmanager
async def paying(
    home: Path, wallet: Wallet, devnet_url: str, clock: Clock = system_clock, /, **more: str
) -> AsyncIterator[Payer]:
    """The upstream of an executor with its settings, open."""
    values = {"EXECUTOR_PRIVATE_KEY": wallet.key, "CHAIN_RPC_URL": f"{devnet_url}/rpc", **more}
    payer = choose_upstream(settings_of(home, **values), clock)
    assert isinstance(payer, Payer)
    await payer.open()
    try:
        yield payer
    finally:
        await payer.close()


async def rows(home: Path, url: str | None = None) -> list[dict[str, Any]]:
    """The journal, the oldest first."""
    database = Database(url or f"sqlite:///{home / 'upstream.sqlite'}")
    try:
        asked = select(payments).order_by(payments.c.created_at)
        return await database.read(lambda c: [dict(row._mapping) for row in c.execute(asked)])
    finally:
        await database.close()


def spending(
    job_id: str = "job",
    provider: str = "merit-systems",
    limit: int | None = DOLLAR,
    before_paying: Callable[[], None] = lambda: None,
) -> Spending:
    return Spending(job_id, provider, limit, before_paying)


def refusing() -> None:
    """Nothing new is to be paid."""
    raise UpstreamResting("not now")


def run(upstreams: Upstreams, snippet: str = "print(6 * 7)", **more: Any) -> Order:
    return Order("POST", upstreams.merit_systems.url + PATH, json={"snippet": snippet}, **more)


def create(upstreams: Upstreams, **more: Any) -> Order:
    return Order("POST", upstreams.xcache.url + "/create", json={"region": "eu"}, **more)


def output(answer: Answer) -> Any:
    return answer.json()["output"]
