"""Caches: a new one, and more operations for one that is there."""

from decimal import Decimal
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from starlette.datastructures import State

from broker.operations.base import Mode, Operation, Params, Shown, Work, mode_of, read_json, with_mode
from shared.caches.limits import OPERATIONS_INCLUDED, OPERATIONS_MAX, TTL_MAX_S
from shared.caches.router import CacheRouter, backend_of
from shared.caches.wire import CacheCreated, CacheToppedUp
from shared.caches.xcache import id_of_xcache
from shared.errors import BadRequest, Unavailable, describe_validation
from shared.jobs import Wire
from shared.money import ceil_div

AskedT = TypeVar("AskedT", bound=Wire)

TIME_LIMIT_S = 15.0


class CacheCreate(Wire):
    """A cache with its first operations, for `ttl` seconds or until it is given up."""

    region: str = Field("us-east-1", min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+$")
    ttl: int | None = Field(None, ge=1, le=TTL_MAX_S)
    provider: str | None = Field(None, max_length=64)
    max_cost_usd: Decimal | None = Field(None, ge=0, le=1_000_000)


class TopUp(Wire):
    """More operations for a cache, rounded up to whole times of what a new one includes."""

    operations: int = Field(OPERATIONS_INCLUDED, ge=1, le=OPERATIONS_MAX)
    max_cost_usd: Decimal | None = Field(None, ge=0, le=1_000_000)


def _create_work(body: bytes, _: Params) -> Work:
    asked, mode = _read(CacheCreate, body)
    return Work(
        meaning=with_mode(asked.model_dump(mode="json"), mode),
        ask={"region": asked.region, "provider": asked.provider},
        task={"cacheOperation": "create", "cacheRegion": asked.region, "cacheTtl": asked.ttl},
        time_limit_s=TIME_LIMIT_S,
        provider=asked.provider,
        max_cost_usd=asked.max_cost_usd,
        mode=mode,
    )


def _topup_work(body: bytes, params: Params) -> Work:
    (asked, mode), cache_id = _read(TopUp, body or b"{}"), params["cacheId"]
    if backend_of(cache_id) == "xcache":
        raise BadRequest(
            "no more operations are sold for a cache at xcache: make a new cache", code="cannot_top_up"
        )
    if mode == "instructions":
        raise BadRequest("only this host can top its caches up", code="invalid_request")
    operations = ceil_div(asked.operations, OPERATIONS_INCLUDED) * OPERATIONS_INCLUDED
    return Work(
        meaning={"cacheId": cache_id, **asked.model_dump(mode="json")},
        ask={"operations": operations, "provider": backend_of(cache_id)},
        task={"cacheOperation": "topup", "cacheId": cache_id, "cacheOperations": operations},
        time_limit_s=TIME_LIMIT_S,
        max_cost_usd=asked.max_cost_usd,
        mode="execute",
    )


def _read(model: type[AskedT], body: bytes) -> tuple[AskedT, Mode | None]:
    fields, mode = mode_of(read_json(body))
    if not isinstance(fields, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_body")
    try:
        given = {name: value for name, value in fields.items() if value is not None}
        return model.model_validate(given), mode
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None


def _created(answer: Any) -> dict[str, object]:
    """Under the id that tells where the cache is."""
    created = _understood(CacheCreated, answer)
    if answer.get("provider") != "xcache":
        return created
    return {**created, "cacheId": id_of_xcache(str(created["cacheId"]))}


def _topped_up(answer: Any) -> dict[str, object]:
    return _understood(CacheToppedUp, answer)


def _understood(model: type[Wire], answer: Any) -> dict[str, object]:
    try:
        return model.model_validate(answer).model_dump(mode="json")
    except ValidationError:
        raise Unavailable(
            "the executor's answer was not understood; nothing was charged", code="bad_result"
        ) from None


async def _is_there(state: State, work: Work) -> None:
    """Raises `NoSuchCache` (404) before anybody pays for more operations of nothing."""
    caches: CacheRouter = state.caches
    await caches.info(work.meaning["cacheId"])


def _shown(result: dict[str, Any], shown: Shown) -> dict[str, Any]:
    """With the cache's address, and for its buyer the token, which is kept nowhere."""
    cache_id = result["cacheId"]
    token = {} if shown.tokens is None else {"token": shown.tokens.of(cache_id)}
    endpoint = f"{shown.base_url}/cache/{cache_id}"
    return {**result, "provider": backend_of(cache_id), "endpoint": endpoint, **token}


CACHE = Operation(
    name="cache",
    task_type="cache",
    quote_path="/quote/cache",
    description=f"A cache with {OPERATIONS_INCLUDED:,} operations, for HTTP and for clients of Upstash Redis",
    parse=_create_work,
    starting_ask={},
    example={"region": "us-east-1"},
    input_schema=CacheCreate.model_json_schema(),
    read_result=_created,
    menu=({"region": "us-east-1"},),
    leaves=True,
    shown=_shown,
)

TOP_UP_ROUTE = "/cache/{cacheId}/topup"

TOP_UP = Operation(
    name="topup",
    task_type="cache",
    quote_path="/quote/cache",
    description=f"{OPERATIONS_INCLUDED:,} more operations for a cache",
    parse=_topup_work,
    starting_ask={},
    example={"operations": OPERATIONS_INCLUDED},
    input_schema=TopUp.model_json_schema(),
    read_result=_topped_up,
    priced_by=("operations",),
    empty_body=True,
    leaves=True,
    check=_is_there,
)
