"""The REST protocol of Upstash: `/redis/{cacheId}`, and of it what `/cache/{cacheId}` leaves free."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from broker.caches.route import CacheRequest, CacheRoute
from broker.caches.upstash import (
    Answers,
    pipeline_of_body,
    run_one,
    run_pipeline,
    run_transaction,
    words_of_body,
    words_of_path,
)
from broker.routes.cache_schemas import COMMAND_BODY, MANY_REPLIES, ONE_REPLY, PIPELINE_BODY, described

router = APIRouter(route_class=CacheRoute, tags=["cache"])

COMMAND: dict[str, Any] = {"responses": ONE_REPLY, "openapi_extra": described(body=COMMAND_BODY, redis=True)}
PIPELINE: dict[str, Any] = {
    "responses": MANY_REPLIES,
    "openapi_extra": described(body=PIPELINE_BODY, redis=True),
}


@router.post("/redis/{cacheId}", **COMMAND)
@router.post("/cache/{cacheId}", **COMMAND)
async def command(request: CacheRequest) -> Response:
    """One Redis command, `["SET", "k", "v", "EX", 60]`, as the clients of Upstash send it."""
    answers = Answers(request)
    words = words_of_body(await request.body())
    return answers.one(await run_one(request.caches, request.cache_id, words))


@router.post("/redis/{cacheId}/pipeline", **PIPELINE)
@router.post("/cache/{cacheId}/pipeline", **PIPELINE)
async def pipeline(request: CacheRequest) -> Response:
    """Up to 1,000 commands, `[["SET", "k", "v"], ["GET", "k"]]`, each answered with a result or an error."""
    answers = Answers(request)
    rows = pipeline_of_body(await request.body())
    return answers.many(await run_pipeline(request.caches, request.cache_id, rows))


@router.post("/redis/{cacheId}/multi-exec", **PIPELINE)
@router.post("/cache/{cacheId}/multi-exec", **PIPELINE)
async def transaction(request: CacheRequest) -> Response:
    """The same as a transaction: nobody else's command runs in between."""
    answers = Answers(request)
    rows = pipeline_of_body(await request.body())
    return answers.many(await run_transaction(request.caches, request.cache_id, rows))


@router.get(
    "/redis/{cacheId}/{command:path}", responses=ONE_REPLY, openapi_extra=described("command", redis=True)
)
@router.api_route("/redis/{cacheId}/{command:path}", methods=["POST", "PUT"], include_in_schema=False)
@router.post("/cache/{cacheId}/{command:path}", include_in_schema=False)
async def command_in_path(request: CacheRequest) -> Response:
    """One Redis command as a path, `/get/k`; a body is its last argument, `?EX=60` are further ones."""
    if not request.raw_rest:
        return await command(request)
    answers = Answers(request)
    words = words_of_path(request, await request.body())
    return answers.one(await run_one(request.caches, request.cache_id, words))
