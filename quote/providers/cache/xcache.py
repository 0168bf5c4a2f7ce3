"""A cache at xcache.io, with 50,000 operations."""

import re
from typing import Any

from quote.asks import CacheAsk
from quote.providers.base import Context, Decline
from quote.providers.remote import Call, Probe, X402Provider
from shared.caches.limits import OPERATIONS_INCLUDED

_REGION = re.compile(r"[a-z0-9-]{1,64}")


class Xcache(X402Provider[CacheAsk]):
    name = "xcache"
    kind = "cache"

    def probe(self, ask: CacheAsk) -> Probe:
        if ask.operations > OPERATIONS_INCLUDED:
            raise Decline(
                f"it sells caches of {OPERATIONS_INCLUDED} operations, and no more for one that is there"
            )
        region = _region(ask)
        if not _REGION.fullmatch(region):
            raise Decline("the name of a region has letters, digits and dashes only")
        return Probe(region, "POST", f"{self.settings.xcache_url}/create", {"region": region})

    def call(self, ask: CacheAsk) -> Call:
        return Call("POST", f"{self.settings.xcache_url}/create", {"region": _region(ask)})

    def metadata(self, ask: CacheAsk) -> dict[str, Any]:
        return {"region": _region(ask), "operations_included": OPERATIONS_INCLUDED}


def _region(ask: CacheAsk) -> str:
    return ask.region.strip().lower()


def provider(context: Context) -> Xcache:
    return Xcache(context)
