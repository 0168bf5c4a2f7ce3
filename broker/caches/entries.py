"""What is sent to the plain routes of a cache: entries, their ttl, asks for a list (providers.md, xcache)."""

from dataclasses import dataclass
from typing import Any

from broker.caches.route import CacheRequest
from broker.operations.base import read_json
from shared.errors import BadRequest


@dataclass(frozen=True, slots=True)
class PutEntry:
    """The body of a PUT: any JSON as `value`, and seconds as `ttl` or none."""

    value: Any
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class ListAsk:
    """The query of a list."""

    cursor: str | None = None
    limit: int = 100
    prefix: str = ""


async def entry_of(request: CacheRequest) -> PutEntry:
    """Raises `BadRequest` for anything but `{"value": …, "ttl"?: seconds}`."""
    body = read_json(await request.body())
    if not isinstance(body, dict) or "value" not in body:
        raise BadRequest('send {"value": any JSON, "ttl": seconds or nothing}', code="value_required")
    return PutEntry(body["value"], _ttl(body.get("ttl")))


async def ttl_of(request: CacheRequest) -> int | None:
    """The seconds of `{"ttl": 60}`, None for `{"ttl": null}`. Raises `BadRequest`."""
    body = read_json(await request.body())
    if not isinstance(body, dict) or "ttl" not in body:
        raise BadRequest('send {"ttl": seconds}, or null to take it away', code="ttl_required")
    return _ttl(body["ttl"])


def list_ask_of(request: CacheRequest) -> ListAsk:
    """Raises `BadRequest` for a limit that is no number; unknown parameters are ignored."""
    given = dict(request.query)
    limit = given.get(b"limit", b"100")
    if not (limit.isdigit() and len(limit) < 10):
        raise BadRequest("limit must be a whole number", code="invalid_limit")
    try:
        cursor, prefix = given.get(b"cursor", b"").decode(), given.get(b"prefix", b"").decode()
    except UnicodeDecodeError:
        raise BadRequest("cursor and prefix must be UTF-8", code="invalid_query") from None
    return ListAsk(cursor or None, int(limit), prefix)


def _ttl(given: Any) -> int | None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
        raise BadRequest("ttl must be a whole number of seconds", code="invalid_ttl")
    return given
