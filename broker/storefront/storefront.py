"""`GET /.well-known/x402` and the page that a browser gets for a paid address. It can price, never run."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from broker.addresses import public_address
from broker.operations import OPERATIONS, Operation
from broker.payments.offers import Offer
from broker.payments.paid_route import PaidRoute
from broker.payments.pricing import Pricing
from broker.payments.terms import Terms, challenge
from shared.errors import GalaksioError
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.networks import Network
from shared.receipts import published_key

log = get_logger(__name__)

PRICE_WAIT_S = 3.0
"""How long a discovery document waits for prices before it goes out without them."""
_OFFER_ONLY = frozenset({"quoteId", "requestHash"})


class Storefront:
    """`routes` are the broker's, of which the paid ones are shown; `terms` is None where payments are off."""

    def __init__(
        self,
        *,
        network: Network,
        terms: Terms | None,
        pricing: Pricing,
        receipt_key: str,
        routes: Iterable[BaseRoute],
        public_base_url: str | None,
    ) -> None:
        self._network = network
        self._terms = terms
        self._pricing = pricing
        self._receipt_key = receipt_key
        self._sold = sorted(_sold(routes), key=lambda one: list(OPERATIONS).index(one[0].name))
        self._public_base_url = public_base_url

    async def page(self, operation: Operation, method: str, route: str, scope: Scope) -> Response | None:
        """What is sold at `route` as a 402 page with the starting price; None where nothing is charged.

        Raises `Unavailable` when no price can be named.
        """
        if self._terms is None:
            return None
        return challenge(
            self._terms,
            await self._pricing.starting_offer(operation, method, route),
            operation,
            public_address(scope, self._public_base_url) + route,
            error="payment required; this is the starting price: send your request to learn its own",
            with_schema=True,
            html=True,
        )

    async def prices(self, operation: Operation) -> list[dict[str, Any]]:
        """What the usual forms of `operation` cost now; none where nothing is charged or quote is silent."""
        if self._terms is None:
            return []
        try:
            async with asyncio.timeout(PRICE_WAIT_S):
                return await self._pricing.menu(operation)
        except (GalaksioError, TimeoutError) as exc:
            log.warning("menu_without_prices", operation=operation.name, error=type(exc).__name__)
            return []

    async def document(self, scope: Scope) -> dict[str, Any]:
        """All that is sold here; without prices when quote does not answer in time."""
        base = public_address(scope, self._public_base_url)
        items = await asyncio.gather(*(self._item(base, *one) for one in self._sold))
        return {
            "version": 1,
            "x402Version": 1,
            "versions": [1, 2],
            "resources": [base + route for _, _, route in self._sold],
            "items": items,
            "network": self._network.name,
            "networkId": self._network.caip2,
            "asset": self._network.asset,
            "payTo": None if self._terms is None else self._terms.pay_to,
            "paymentsEnabled": self._terms is not None,
            "receiptKey": published_key(self._receipt_key, self._network.chain_id),
            "instructions": (
                "POST your request to a resource; the 402 names its price for x402 v1 (body) and v2 "
                "(PAYMENT-REQUIRED header). Prices here are the least a call can cost."
            ),
            "links": {"docs": f"{base}/docs", "openapi": f"{base}/openapi.json"},
        }

    async def _item(self, base: str, operation: Operation, method: str, route: str) -> dict[str, Any]:
        offer, prices = await asyncio.gather(
            self._starting_offer(operation, method, route), self.prices(operation)
        )
        resource = base + route
        return {
            "resource": resource,
            "type": "http",
            "method": method,
            "x402Version": 1,
            "description": operation.description,
            "priceFromAtomic": None if offer is None else str(offer.price_atomic),
            "priceFromUsd": None if offer is None else atomic_to_usd(offer.price_atomic),
            "prices": prices,
            "inputSchema": operation.input_schema,
            "example": operation.example,
            **self._accepts(offer, resource, operation),
        }

    def _accepts(self, offer: Offer | None, resource: str, operation: Operation) -> dict[str, Any]:
        """v1 entries alone under `accepts`, as clients of v1 expect; those of v2 beside them."""
        if offer is None or self._terms is None:
            return {"accepts": [], "acceptsV2": []}
        v1 = self._terms.v1(offer, resource, operation.description)
        v2 = self._terms.v2(offer).model_dump(by_alias=True, exclude_none=True)
        v2["extra"] = {name: value for name, value in v2["extra"].items() if name not in _OFFER_ONLY}
        return {"accepts": [v1.model_dump(by_alias=True, exclude_none=True)], "acceptsV2": [v2]}

    async def _starting_offer(self, operation: Operation, method: str, route: str) -> Offer | None:
        if self._terms is None:
            return None
        try:
            async with asyncio.timeout(PRICE_WAIT_S):
                return await self._pricing.starting_offer(operation, method, route)
        except (GalaksioError, TimeoutError) as exc:
            log.warning("discovery_without_price", operation=operation.name, error=type(exc).__name__)
            return None


def _sold(routes: Iterable[BaseRoute]) -> Iterator[tuple[Operation, str, str]]:
    """All paid routes that have one address; more of something bought is sold at the address of that."""
    for route in routes:
        if isinstance(route, PaidRoute) and "{" not in route.path_format:
            for method in sorted(route.methods or ()):
                yield route.operation, method, route.path_format
