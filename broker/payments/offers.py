"""Offers: the price a client was told is the price it pays (payments.md §2)."""

import hashlib
import json
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, delete, insert, select

from broker.tables import offers
from shared.clock import Clock
from shared.database import Database
from shared.money import MAX_ATOMIC

MEMORY_OFFERS = 10_000
KEEP_EXPIRED_MS = 3_600_000
_INSERT = insert(offers)
RENEW_PART = 0.5
"""An offer older than this part of its life is not handed out again: the next client gets a fresh one."""
SHORTEST_MS = 30_000
"""Time to sign, also for the price of a provider that holds it no longer."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Offer:
    """A price for one exact request. `price_atomic` is provider price plus broker fee, 10^-6 USD.

    `quote` is the chosen provider's quote; `expires_at_ms` is Unix milliseconds.
    """

    id: str
    request_hash: str
    price_atomic: int
    provider: str
    quote: dict[str, Any]
    max_timeout_s: int
    created_at_ms: int
    expires_at_ms: int

    @property
    def told_until_ms(self) -> int:
        """The last moment at which it is handed out, in Unix milliseconds."""
        return self.created_at_ms + int((self.expires_at_ms - self.created_at_ms) * RENEW_PART)

    @property
    def settle(self) -> Literal["after", "before"]:
        """When the customer's payment is settled: before the work where upstream money moves."""
        return "before" if self.quote.get("settle") == "before" else "after"


def request_hash(method: str, route: str, meaning: Any) -> str:
    """SHA-256 over the method, the route and the meaning of the body, as lower-case hex."""
    return hashlib.sha256(_CANONICAL.encode([method, route, meaning]).encode()).hexdigest()


class OfferBook:
    """Offers, durable and shared by all brokers on one database, with a copy in memory."""

    def __init__(self, database: Database, clock: Clock, ttl_s: int) -> None:
        self._database = database
        self._clock = clock
        self._ttl_ms = ttl_s * 1000
        self._latest: OrderedDict[str, Offer] = OrderedDict()

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    async def current(self, hash_: str) -> Offer | None:
        """An offer for this request with enough of its life left to be told to a client, or None."""
        now = self.now_ms()
        known = self._latest.get(hash_)
        if known is not None and known.told_until_ms >= now:
            return known
        found = await self._find(offers.c.request_hash == hash_, offers.c.expires_at >= now)
        return self._remember(found[0]) if found and found[0].told_until_ms >= now else None

    async def make(
        self,
        hash_: str,
        price_atomic: int,
        quote: dict[str, Any],
        max_timeout_s: int,
        good_until_ms: int | None = None,
    ) -> Offer:
        """Record a new offer; it can be paid by any broker once this returns.

        `good_until_ms` is how long its provider holds the price, where that is somebody else.
        """
        now = self.now_ms()
        life_ms = self._ttl_ms
        if good_until_ms is not None:
            life_ms = min(life_ms, max(SHORTEST_MS, good_until_ms - now))
        offer = Offer(
            id=str(uuid.uuid4()),
            request_hash=hash_,
            price_atomic=price_atomic,
            provider=quote["provider"],
            quote=quote,
            max_timeout_s=max_timeout_s,
            created_at_ms=now,
            expires_at_ms=now + life_ms,
        )
        row = {
            "id": offer.id,
            "request_hash": hash_,
            "price_atomic": price_atomic,
            "provider": offer.provider,
            "quote": json.dumps(quote),
            "max_timeout_s": max_timeout_s,
            "created_at": now,
            "expires_at": offer.expires_at_ms,
        }
        await self._database.write(lambda connection: connection.execute(_INSERT, row))
        return self._remember(offer)

    async def payable(self, hash_: str, amount_atomic: int, offer_id: str | None) -> Offer | None:
        """The unexpired offer a payment answers: by id where the client echoed one (v2), else by amount."""
        if amount_atomic > MAX_ATOMIC:
            return None
        known = self._latest.get(hash_)  # an offer never changes, so the copy is as good as the row
        if (
            known is not None
            and known.price_atomic == amount_atomic
            and known.expires_at_ms >= self.now_ms()
            and offer_id in {None, known.id}
        ):
            return known
        conditions = [
            offers.c.request_hash == hash_,
            offers.c.price_atomic == amount_atomic,
            offers.c.expires_at >= self.now_ms(),
        ]
        if offer_id is not None:
            conditions.append(offers.c.id == offer_id)
        found = await self._find(*conditions)
        return found[0] if found else None

    async def sweep(self) -> int:
        """Delete offers that expired over an hour ago; returns how many."""
        expired = delete(offers).where(offers.c.expires_at < self.now_ms() - KEEP_EXPIRED_MS)
        return await self._database.write(lambda connection: int(connection.execute(expired).rowcount))

    async def _find(self, *conditions: Any) -> list[Offer]:
        query = select(offers).where(*conditions).order_by(offers.c.expires_at.desc()).limit(1)
        return await self._database.read(
            lambda connection: [_offer(row) for row in connection.execute(query)]
        )

    def _remember(self, offer: Offer) -> Offer:
        self._latest[offer.request_hash] = offer
        self._latest.move_to_end(offer.request_hash)
        while len(self._latest) > MEMORY_OFFERS:
            self._latest.popitem(last=False)
        return offer


def _offer(row: Row[Any]) -> Offer:
    return Offer(
        id=row.id,
        request_hash=row.request_hash,
        price_atomic=row.price_atomic,
        provider=row.provider,
        quote=json.loads(row.quote),
        max_timeout_s=row.max_timeout_s,
        created_at_ms=row.created_at,
        expires_at_ms=row.expires_at,
    )
