"""`GET /runtimes` at the public door: the executor's word, kept for a moment."""

import asyncio
import json
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from broker.clients import ExecutorClient
from broker.routes.runtimes import router
from broker.runtimes import FRESH_S, Runtimes
from shared.calls import Answer, Caller
from shared.errors import install_error_handlers

ROWS = [
    {"name": "python", "aliases": ["py"], "available": True, "version": "3.13.1", "dependencies": True},
    {"name": "bash", "available": True, "version": "5.2", "reason": "/secret/folder cannot be written"},
    {"name": "javascript", "available": False, "reason": "install Node.js", "source": None},
]


class Door:
    """The route over an executor whose answer is set by hand."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.answer: Any = {"runtimes": ROWS}
        self.now_s = 100.0
        app = FastAPI()
        install_error_handlers(app)
        app.include_router(router)
        app.state.runtimes = Runtimes(ExecutorClient(cast(Caller, self)), lambda: self.now_s)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://broker")

    async def get(self, path: str) -> Answer:
        """As the executor answers (`Caller.get`)."""
        self.asked += 1
        await asyncio.sleep(0)
        assert path == "/runtimes"
        return Answer(self.status, json.dumps(self.answer).encode())

    async def ask(self) -> httpx.Response:
        return await self.client.get("/runtimes")


@pytest.fixture
def door() -> Door:
    return Door()


async def test_everybody_sees_the_languages_and_many_askers_are_one_request(door: Door) -> None:
    answers = await asyncio.gather(*(door.ask() for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200} and door.asked == 1
    python, bash, javascript = answers[0].json()["runtimes"]
    assert (python["version"], python["dependencies"], python["aliases"]) == ("3.13.1", True, ["py"])
    assert (javascript["available"], javascript["reason"]) == (False, "install Node.js")
    assert bash["reason"] == "" and "source" not in bash
    door.now_s += FRESH_S
    await door.ask()
    assert door.asked == 2


@pytest.mark.parametrize(("status", "answer"), [(500, {}), (200, []), (200, {"runtimes": [{"name": 1}]})])
async def test_an_executor_that_says_nothing_sensible_is_503_and_asked_again_later(
    door: Door, status: int, answer: Any
) -> None:
    door.status, door.answer = status, answer
    for _ in range(3):
        found = await door.ask()
        assert (found.status_code, found.json()["code"]) == (503, "executor_unavailable")
    assert door.asked == 1
    door.status, door.answer = 200, {"runtimes": ROWS}
    door.now_s += FRESH_S
    assert (await door.ask()).status_code == 200
