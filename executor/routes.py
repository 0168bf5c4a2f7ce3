"""HTTP of the executor: parse, call one thing, answer."""

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse, Response

from executor.jobs import Jobs
from executor.providers.base import ProviderStatus, RuntimeInfo
from executor.route_schemas import (
    RUN,
    RUN_ANSWERS,
    TASK,
    TASK_REFUSED,
    UNDO,
    UNDO_REFUSED,
    Done,
    Undone,
    Whoami,
)
from executor.streamed import EVENTS, NDJSON, streamed
from executor.tasks import job_id_of
from shared import __version__
from shared.errors import GalaksioError
from shared.jobs import Wire

router = APIRouter(tags=["executor"])


class Providers(Whoami):
    providers: list[ProviderStatus]


class Runtimes(Wire):
    runtimes: list[RuntimeInfo]


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


async def _answer(body: Any, answer: Awaitable[dict[str, Any]]) -> JSONResponse:
    try:
        return JSONResponse(await answer)
    except GalaksioError as error:
        error.extra = {"jobId": job_id_of(body), "status": "failed", **error.extra}
        raise


@router.post("/execute", response_model=Done, responses=TASK_REFUSED, openapi_extra=TASK)
async def execute(request: Request, body: Any = Body(None)) -> JSONResponse:  # noqa: B008
    """Do a task `{jobId, taskType, provider, …}` once; the same jobId again returns the kept result."""
    return await _answer(body, _jobs(request).do(body, direct=False))


@router.post("/undo", response_model=Undone, responses=UNDO_REFUSED, openapi_extra=UNDO)
async def undo(request: Request, body: Any = Body(None)) -> JSONResponse:  # noqa: B008
    """Take the job `{jobId, taskType, provider}` back: nothing of it remains, and it is not run again."""
    return await _answer(body, _jobs(request).undo(body))


@router.post("/run", responses=RUN_ANSWERS, openapi_extra=RUN)
async def run(request: Request, body: Any = Body(None), stream: bool = False) -> Response:  # noqa: B008
    """Run a snippet `{code, language, …}` directly.

    With `?stream=1` (or `Accept: application/x-ndjson`, `text/event-stream`) the answer is a line
    `{stream: "stdout" | "stderr", data}` for output as it is produced, and last `{jobId, …, result}`.
    """
    accepted = request.headers.get("accept", "")
    if stream or NDJSON in accepted or EVENTS in accepted:
        return await streamed(_jobs(request).stream(body), job_id_of(body), events=EVENTS in accepted)
    return await _answer(body, _jobs(request).do(body, direct=True))


@router.get("/providers")
async def providers(request: Request) -> Providers:
    """What is configured here, and whether it works."""
    whoami: Whoami = request.app.state.whoami
    return Providers(**whoami.model_dump(), providers=_jobs(request).statuses())


@router.get("/runtimes")
async def runtimes(request: Request) -> Runtimes:
    """Which languages can be run here, and what the others lack."""
    return Runtimes(runtimes=_jobs(request).runtimes())


@router.get("/")
async def card(request: Request) -> dict[str, Any]:
    """What this service is."""
    return {
        "service": "galaksio-executor",
        "version": __version__,
        "taskTypes": _jobs(request).registry.task_types(),
        "links": {"docs": "/docs", "health": "/health", "providers": "/providers", "runtimes": "/runtimes"},
    }
