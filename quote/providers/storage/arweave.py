"""Arweave, at what the network takes in AR; the work is done, and sold, by galaksio_storage."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

from quote.asks import StoreAsk
from quote.capabilities import Needs
from quote.outside import Heard
from quote.providers.base import Context, Decline, Failed, Price
from quote.providers.keeping import CHUNK_BYTES, refusal_of_keeping
from quote.providers.remote import RemoteProvider, positive_usd, read_json
from quote.providers.storage.galaksio_storage import GalaksioStorage
from quote.providers.storage.local import OVERHEAD_BYTES
from shared.http import MB
from shared.money import atomic_to_usd, ceil_div, usd_to_atomic
from shared.quotes import Refusal

WINSTON_PER_AR = 10**12
_MAX_DIGITS = 24
"""Of an amount in winston: more AR than there will ever be."""


class Arweave(RemoteProvider[StoreAsk]):
    """Costs what the network takes, or galaksio_storage's own price where that is more."""

    name = "arweave"
    kind = "storage"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._seller = GalaksioStorage(context)

    async def prices(self, ask: StoreAsk) -> Sequence[Price]:
        if ask.file_size_bytes > self.settings.max_upload_mb * MB + OVERHEAD_BYTES:
            raise Decline(f"this host takes no files over {self.settings.max_upload_mb} MB")
        size_bytes = max(ceil_div(ask.file_size_bytes, CHUNK_BYTES), 1) * CHUNK_BYTES
        winston, rate, sold = await asyncio.gather(
            self._winston(size_bytes), self._rate(), self._sold(ask), return_exceptions=True
        )
        if isinstance(winston, BaseException):
            raise winston
        if isinstance(rate, BaseException):
            raise rate
        atomic = _in_usd(winston, rate)
        network = Price(
            atomic,
            metadata={
                "file_size_bytes": ask.file_size_bytes,
                "priced_size_bytes": size_bytes,
                "permanent": True,
                "ttl_s": None,
                "platform": self.name,
                "done_by": self._seller.name,
            },
            settle="before",
            extras={
                "winston": str(winston),
                "ar_usd": f"{rate:f}",
                "network_price_usd": atomic_to_usd(atomic),
            },
        )
        if isinstance(sold, Decline):
            reason = f"{self._seller.name}, which does the work, names no price: {sold}"
            return [replace(network, refusal=Refusal(code="seller_unavailable", reason=reason))]
        if isinstance(sold, BaseException):
            raise sold
        return [await self._through(ask, network, sold)]

    async def _through(self, ask: StoreAsk, network: Price, sold: Price) -> Price:
        """The network's price, bought for `sold`."""
        capability = await self.capabilities.of(self.kind, self.name)
        needs = Needs(price_atomic=sold.atomic, network=sold.network)
        return replace(
            sold,
            atomic=max(network.atomic, sold.atomic),
            refusal=refusal_of_keeping(ask, self.name) or sold.refusal or capability.refusal(needs),
            metadata=network.metadata,
            extras={**network.extras, "seller_price_usd": atomic_to_usd(sold.atomic)},
        )

    async def _sold(self, ask: StoreAsk) -> Price:
        if self._seller.disabled:
            raise Decline(self._seller.disabled)
        (price,) = await self._seller.prices(ask.model_copy(update={"provider": self._seller.name}))
        return price

    async def _winston(self, size_bytes: int) -> int:
        url = f"{self.settings.arweave_url}/price/{size_bytes}"
        answer = await self.market.ask(self.name, str(size_bytes), partial(self._ask, url, _read_winston))
        return int(answer["winston"])

    async def _rate(self) -> Decimal:
        url = f"{self.settings.coingecko_url}/simple/price?ids=arweave&vs_currencies=usd"
        try:
            answer = await self.market.ask("coingecko", "arweave-usd", partial(self._ask, url, _read_rate))
        except Decline as exc:
            raise Decline(f"nobody says what an AR costs in dollars: {exc}") from None
        return Decimal(answer["usd"])

    async def _ask(self, url: str, read: Callable[[Heard], dict[str, Any]]) -> dict[str, Any]:
        return read(await self.outside.ask("GET", url))


def _read_winston(heard: Heard) -> dict[str, Any]:
    text = heard.body.strip()
    if heard.status != 200:
        raise Failed(f"answered {heard.status} where a price was expected")
    if not text.isdigit() or len(text) > _MAX_DIGITS or not int(text):
        raise Failed("its price is not a positive number of winston")
    return {"winston": text.decode()}


def _read_rate(heard: Heard) -> dict[str, Any]:
    told = read_json(heard)
    of_arweave = told.get("arweave") if isinstance(told, dict) else None
    usd = positive_usd(of_arweave.get("usd")) if isinstance(of_arweave, dict) else None
    if usd is None:
        raise Failed("its answer has no rate")
    return {"usd": str(usd)}


def _in_usd(winston: int, rate: Decimal) -> int:
    """Atomic units, rounded up."""
    with localcontext(prec=60):
        usd = winston * rate / WINSTON_PER_AR
    try:
        return usd_to_atomic(usd)
    except ValueError:
        raise Failed("its price is beyond all sense") from None


def provider(context: Context) -> Arweave:
    return Arweave(context)
