"""The requests to a broker, paid and free, as its HTTP contract has them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from galaksio.connection import Connection, Lost, Reply
from galaksio.content import Content
from galaksio.errors import Unreachable
from galaksio.paying import Bought, Payer, Terms, succeeded
from galaksio.prices import Usd, limit_atomic
from galaksio.results import BoughtCache, Run, Stored, ToppedUp, read_sold
from galaksio.uploads import Progress, Upload

if TYPE_CHECKING:
    from galaksio.wallet import Wallet


class Asks:
    """What can be asked of the broker of `connection`, paid by `wallet`."""

    def __init__(self, connection: Connection, wallet: "Wallet | None") -> None:
        self._connection = connection
        self._payer = Payer(connection, wallet)

    @staticmethod
    def terms(max_cost_usd: Usd | None, payment_id: str | None) -> Terms:
        """Raises `ValueError` for what is no amount."""
        return Terms(None if max_cost_usd is None else limit_atomic(max_cost_usd), payment_id)

    async def run(self, body: Mapping[str, Any], terms: Terms) -> Run:
        return read_sold(Run, await self._buy("/run", body, terms))

    async def store_url(self, body: Mapping[str, Any], terms: Terms) -> Stored:
        return read_sold(Stored, await self._buy("/store", body, terms))

    async def upload(
        self, content: Content, fields: Mapping[str, str], progress: Progress, terms: Terms
    ) -> Stored:
        upload = Upload(f"{self._connection.base_url}/store", fields, content, progress)
        return read_sold(Stored, await self._payer.buy(upload.send, terms))

    async def create_cache(self, body: Mapping[str, Any], terms: Terms) -> BoughtCache:
        return read_sold(BoughtCache, await self._buy("/cache", body, terms))

    async def top_up(self, cache_id: str, operations: int, terms: Terms) -> ToppedUp:
        path = f"/cache/{quote(cache_id, safe='')}/topup"
        return read_sold(ToppedUp, await self._buy(path, {"operations": operations}, terms))

    async def call(self, method: str, path: str, **content: Any) -> Reply:
        """One free request that is to be answered 200. Raises `Error`."""
        try:
            return succeeded(await self._connection.send(method, path, **content))
        except Lost as exc:
            raise Unreachable(self._connection.base_url, str(exc)) from None

    async def _buy(self, path: str, body: Mapping[str, Any], terms: Terms) -> Bought:
        given = {name: value for name, value in body.items() if value is not None}

        async def send(headers: dict[str, str]) -> Reply:
            return await self._connection.send("POST", path, json=given, headers=headers)

        return await self._payer.buy(send, terms)
