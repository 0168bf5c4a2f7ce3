"""Output while it is produced."""

import asyncio
import json
import os
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.streaming import Chunk, Outbox, Texts
from shared.jobs import RunRequest, RunResult
from tests.executor.conftest import descendants, opened, until
from tests.executor.test_service import Service, Start, compute_row, start

__all__ = ["start"]

SLOWLY = """
import sys, time
for word, pause_s in ("one", 3), ("two", 0.5):
    print(word, flush=True); time.sleep(pause_s)
print("three", file=sys.stderr)
"""


@pytest.mark.parametrize("options", [Options(slots=1), Options(slots=1, pool=1), Options(slots=1, off=True)])
async def test_output_arrives_before_the_run_ends(options: Options) -> None:
    sandbox = await opened(options)
    try:
        came: list[tuple[str, bytes, int]] = []
        async for item in sandbox.stream(RunRequest(code=SLOWLY)):
            if isinstance(item, Chunk):
                came.append((item.stream, bytes(item.data), sandbox.slots.free))
            else:
                result = item
        said: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        for stream, data, _ in came:
            said[stream] += data
        assert said == {"stdout": b"one\ntwo\n", "stderr": b"three\n"}
        assert came[1][1].startswith(b"one\n")
        assert came[1][2] == 0  # the slot was still held
        assert (result.stdout, result.stderr) == ("one\ntwo\n", "three\n")
    finally:
        await sandbox.close()


async def test_a_reader_that_does_not_read_stalls_neither_the_output_nor_the_clock(sandbox: Sandbox) -> None:
    flood = "import sys\nwhile True: sys.stdout.write('x' * 100)"
    items: list[Chunk | RunResult] = []
    async for item in sandbox.stream(RunRequest(code=flood, timeout_s=20)):
        if not items:  # asleep until the run is over
            assert await until(lambda: sandbox.slots.free == 2, 20)
        items.append(item)
    *chunks, result = items
    assert isinstance(result, RunResult) and result.truncated.stdout
    data = b"".join(bytes(chunk.data) for chunk in chunks if isinstance(chunk, Chunk))
    assert data.decode() == result.stdout and len(data) == 256 * 1024
    assert len(chunks) == 2  # the sign that it began, and all that came while nobody looked


async def test_a_reader_that_leaves_ends_the_run(sandbox: Sandbox) -> None:
    async with aclosing(sandbox.stream(RunRequest(code="import time; time.sleep(60)"))) as items:
        await anext(items)
        assert await until(lambda: descendants(os.getpid()) != [])
    assert (sandbox.slots.free, descendants(os.getpid())) == (2, [])


async def test_chunks_are_cut_anywhere_but_text_is_not() -> None:
    outbox, texts = Outbox(), Texts("utf-8")
    for part in ("ü".encode()[:1], "ü".encode()[1:] + b"x"):
        outbox.put("stdout", part)
        outbox.put("stderr", b"\xff")
    outbox.end()
    said = [(chunk.stream, texts.of(chunk)) async for chunk in outbox.chunks()]
    assert said == [("stdout", ""), ("stderr", "\ufffd"), ("stdout", "üx"), ("stderr", "\ufffd")]
    assert Texts("base64").of(Chunk("stdout", bytearray(b"\xff"))) == "/w=="


async def lines_of(answer: httpx.Response) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) async for line in answer.aiter_lines() if line]


async def test_over_http_lines_come_as_they_are_produced(start: Start) -> None:
    service: Service = await start(EXECUTOR_POOL="1", EXECUTOR_SLOTS="1", EXECUTOR_QUEUE="0")
    body = {"code": SLOWLY}
    async with service.client.stream("POST", "/run?stream=1", json=body) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines)) == {"stream": "stdout", "data": "one\n"}
        local = await compute_row(service.client)
        assert (local["slotsFree"], local["accepting"]) == (0, False)
        assert local["retryAfterS"] >= 1
        # What is refused is refused with its status, not within a stream.
        refused = await service.post("/run?stream=1", body)
        assert (refused.status_code, refused.json()["code"]) == (503, "executor_busy")
        assert refused.headers["Retry-After"]
        rest = [json.loads(line) async for line in lines]
    assert rest[:-1] == [{"stream": "stdout", "data": "two\n"}, {"stream": "stderr", "data": "three\n"}]
    assert rest[-1]["result"]["stdout"] == "one\ntwo\n" and rest[-1]["success"] is True
    wrong = await service.post("/run?stream=1", {"code": ""})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "code_required")
    events = {"Accept": "text/event-stream"}
    kept = {"code": "print(1)", "jobId": "kept"}
    for expected in ([{"stream": "stdout", "data": "1\n"}], []):  # the second time there is only the result
        async with service.client.stream("POST", "/run", json=kept, headers=events) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            *output, last = await lines_of(answer)
        assert (output, last["jobId"], last["result"]["stdout"]) == (expected, "kept", "1\n")
    local = await compute_row(service.client)
    assert (local["accepting"], local["retryAfterS"]) == (True, None)


async def test_a_client_that_hangs_up_ends_its_run(start: Start) -> None:
    service: Service = await start(EXECUTOR_POOL="0", EXECUTOR_SLOTS="1")
    sleep = {"code": "print(1, flush=True); import time; time.sleep(60)"}
    async with service.client.stream("POST", "/run?stream=1", json=sleep) as answer:
        await anext(answer.aiter_lines())
        assert descendants(service.process.pid) != []
    assert await until(lambda: descendants(service.process.pid) == [])
    assert (await asyncio.wait_for(service.post("/run", {"code": "print(1)"}), 30)).status_code == 200
