"""A kill -9 at the worst moment, and what 90 MB cost in memory."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx

from executor.storage.blobs import place_of
from tests.executor.storage.conftest import MB, chunks
from tests.executor.storage.test_files import client, started, stored
from tests.support.services import Process

UPLOADS = 50


def left_in(content: Path) -> list[Path]:
    """Files of content, without those of locks."""
    return [path for path in content.rglob("*") if path.is_file() and path.suffix != ".lock"]


async def sent(data: bytes, killed: asyncio.Event | None) -> AsyncIterator[bytes]:
    """`data` at an uneven pace; the second half not before `killed`, where that is given."""
    half = len(data) // 2
    async for chunk in chunks(data[:half]):
        await asyncio.sleep(random.uniform(0, 0.01))
        yield chunk
    if killed:
        await killed.wait()
    yield data[half:]


async def uploads_until_killed(process: Process) -> list[str]:
    """The CIDs that were answered before the kill, which finds every second upload in the middle."""
    killed = asyncio.Event()
    limits = httpx.Limits(max_connections=UPLOADS)
    async with httpx.AsyncClient(
        base_url=process.url, timeout=60, limits=limits, trust_env=False, verify=False
    ) as http:

        async def upload(n: int) -> str:
            data = random.randbytes(random.randint(MB, 3 * MB))
            answer = await http.put("/uploads", content=sent(data, killed if n % 2 else None))
            return str(answer.json()["cid"])

        uploads = [asyncio.create_task(upload(n)) for n in range(UPLOADS)]
        while sum(one.done() for one in uploads) < 5:
            await asyncio.sleep(0.001)
        process.kill()
        killed.set()
        answers = await asyncio.gather(*uploads, return_exceptions=True)
    return [answer for answer in answers if isinstance(answer, str)]


async def test_a_kill_during_fifty_uploads_leaves_no_half_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = started(home, UPLOADS_AT_ONCE="64")
    whole = await uploads_until_killed(process)
    assert 5 <= len(whole) <= UPLOADS // 2
    assert left_in(home / "content" / "staging"), "nothing was in the middle: the test shows nothing"
    process = started(home)
    try:
        here, used_bytes = await swept(home / "storage.sqlite")
        left = [path for path in left_in(home / "content") if path.suffix != ".nodes"]
        assert {path.name for path in left} == here
        assert all(path == home / "content" / place_of(path.name) for path in left)
        assert used_bytes == sum(path.stat().st_size for path in left)
        with client(process) as http:
            assert {name.partition(".")[0] for name in here} >= set(whole)
            for cid in whole:  # whole, but not bought
                assert http.get(f"/files/{cid}").status_code == 404
            assert http.get(stored(http, b"and on we go")["url"]).content == b"and on we go"
    finally:
        process.stop()


async def swept(database: Path) -> tuple[set[str], int]:
    """The blobs that are here and what all of them take, once nothing else is left in the books."""
    with closing(sqlite3.connect(database)) as connection:
        deadline = asyncio.get_running_loop().time() + 20
        while connection.execute("SELECT 1 FROM storage_blobs WHERE state <> 'here'").fetchone():
            assert asyncio.get_running_loop().time() < deadline, "leftovers are not swept"
            await asyncio.sleep(0.05)
        here = {name for (name,) in connection.execute("SELECT name FROM storage_blobs")}
        (used_bytes,) = connection.execute("SELECT size_bytes FROM storage_usage").fetchone()
    return here, used_bytes


def peak_mb(process: Process) -> float:
    """The most memory that the service had since it was last reset, in MB."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def reset_peak(process: Process) -> None:
    Path(f"/proc/{process.popen.pid}/clear_refs").write_text("5")


def test_memory_stays_flat_while_ninety_megabytes_pass_through(tmp_path: Path) -> None:
    process = started(tmp_path / "home")
    try:
        with client(process) as http:
            stored(http, bytes(MB))
            reset_peak(process)
            before_mb = peak_mb(process)
            block = random.randbytes(MB)
            upload = http.put("/uploads", content=(block for _ in range(90))).raise_for_status().json()
            task = {"jobId": "large", "taskType": "store", "provider": "local", "upload": upload["uploadId"]}
            http.post("/execute", json=task).raise_for_status()
            for params in ({}, {"format": "car"}):
                with http.stream("GET", f"/files/{upload['cid']}", params=params) as answer:
                    assert sum(len(piece) for piece in answer.iter_bytes()) >= 90 * MB
            assert peak_mb(process) - before_mb < 30
    finally:
        process.stop()
