"""`GET /runtimes`: the languages that can be run here."""

from fastapi import APIRouter, Request

from broker.runtimes import RuntimeList, Runtimes
from shared.openapi import refusals

router = APIRouter(tags=["service"])


@router.get("/runtimes", responses=refusals({503: "The executor does not answer"}))
async def runtimes(request: Request) -> RuntimeList:
    """Languages with their versions, which of them take packages, and what the missing ones lack. Free."""
    known: Runtimes = request.app.state.runtimes
    return await known.current()
