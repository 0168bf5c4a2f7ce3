"""Arweave by way of storage.galaksio.cloud: a base fee and what the network takes, in dollars."""

import base64
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from quote.asks import StoreAsk
from quote.providers.base import Context, Decline
from quote.providers.keeping import KIB, refusal_of_keeping, size_class
from quote.providers.remote import Call, Probe, X402Provider
from quote.terms import Way
from shared.money import USD_DECIMALS, atomic_to_usd
from shared.quotes import Refusal

MAX_FILE_BYTES = 1024 * KIB
"""Its price depends on the size, and it only tells it to who sends that much. So many bytes are sent, at most
once for each class of sizes and QUOTE_CACHE_TTL_S; for more it is not asked."""
_TYPE = "application/octet-stream"


class GalaksioStorage(X402Provider[StoreAsk]):
    """It is asked with as many zeros as the class of the file's size has bytes (`size_class`).

    What it then takes for the file itself is this price, or less.
    """

    name = "galaksio_storage"
    kind = "storage"

    def probe(self, ask: StoreAsk) -> Probe:
        size_bytes = size_class(ask.file_size_bytes)
        if size_bytes > MAX_FILE_BYTES:
            raise Decline(
                f"it is not asked what files over {MAX_FILE_BYTES} bytes cost: it wants to see them"
            )
        body = {
            "data": _zeros(size_bytes),
            "content_type": _TYPE,
            "is_base64": True,
        }
        return Probe(str(size_bytes), "POST", self._url, body)

    def call(self, ask: StoreAsk) -> Call:
        body = {"data": "<your file as base64>", "content_type": "<its type>", "is_base64": True}
        return Call("POST", self._url, body)

    def metadata(self, ask: StoreAsk) -> dict[str, Any]:
        return {
            "file_size_bytes": ask.file_size_bytes,
            "priced_size_bytes": size_class(ask.file_size_bytes),
            "permanent": True,
            "ttl_s": None,
            "platform": "arweave",
        }

    def refusal(self, ask: StoreAsk) -> Refusal | None:
        return refusal_of_keeping(ask, self.name)

    def extras(self, way: Way) -> dict[str, Any]:
        """Its fees as providers.md has them, and what it says about its price itself."""
        said = (way.entry or {}).get("extra")
        said = said if isinstance(said, dict) else {}
        extras: dict[str, Any] = {"base_fee_usd": "0.01", "retrieve_usd": "0.001", "query_usd": "0.005"}
        extras["dynamic_pricing"] = said.get("dynamicPricing") is True
        stated = _figure(said.get("priceUSD"))
        if stated is not None:
            extras["stated_price_usd"] = f"{stated:f}"
            if not _agree(stated, way.price_atomic):
                extras["price_note"] = f"its 402 asks for ${atomic_to_usd(way.price_atomic)}, which counts"
        return extras

    @property
    def _url(self) -> str:
        return f"{self.settings.galaksio_storage_url}/upload"


@cache
def _zeros(size_bytes: int) -> str:
    """As base64; of the dozen sizes that there are, made once each."""
    return base64.b64encode(bytes(size_bytes)).decode()


def _figure(value: Any) -> Decimal | None:
    """Only shown and compared, so what JSON made a float of is as good as any."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
        return None
    try:
        figure = Decimal(str(value))
    except InvalidOperation:
        return None
    return figure if figure.is_finite() and Decimal("1e-9") <= figure <= 10**9 else None


def _agree(stated: Decimal, price_atomic: int) -> bool:
    """Whether they differ by no more than the last digit that was stated."""
    decimals = len(f"{stated:f}".partition(".")[2])
    last_digit = Decimal(1).scaleb(-min(decimals, USD_DECIMALS))
    return abs(stated - Decimal(price_atomic).scaleb(-USD_DECIMALS)) <= last_digit


def provider(context: Context) -> GalaksioStorage:
    return GalaksioStorage(context)
