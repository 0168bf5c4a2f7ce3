"""Content on its way in: whole or gone."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor.storage.errors import ContentTooLarge, StorageFull
from executor.storage.staging import PIECE_BYTES, Staging
from tests.executor.storage.conftest import MB, chunks


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    made = Staging(tmp_path / "staging", "me", 0)
    made.open()
    yield made
    made.close()


def files(staging: Staging) -> list[Path]:
    return [path for path in staging.root.rglob("*") if path.is_file() and path.suffix != ".lock"]


async def test_content_is_whole_and_known_when_it_is_staged(staging: Staging) -> None:
    data = b"x" * (3 * PIECE_BYTES + 5)
    async with staging.stage(chunks(data), len(data)) as staged:
        assert staged.path.read_bytes() == data
        assert (staged.dag.size_bytes, staged.dag.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert files(staging) == []


async def test_content_over_the_limit_is_refused_while_it_comes(staging: Staging) -> None:
    seen = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal seen
        while True:
            seen += 65_536
            yield bytes(65_536)

    with pytest.raises(ContentTooLarge):
        async with staging.stage(endless(), 5 * MB):
            pass
    assert seen <= 5 * MB + 65_536
    assert files(staging) == []


async def test_a_sender_that_fails_leaves_nothing(staging: Staging) -> None:
    async def cut_off() -> AsyncIterator[bytes]:
        yield bytes(3 * PIECE_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async with staging.stage(cut_off(), 10 * MB):
            pass
    assert files(staging) == []


async def test_being_cancelled_in_the_middle_leaves_nothing(staging: Staging) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(PIECE_BYTES)
        begun.set()
        await asyncio.sleep(60)
        yield b"never"

    async def receive() -> None:
        async with staging.stage(slow(), 10 * MB):
            pass

    task = asyncio.create_task(receive())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert files(staging) == []


async def test_a_disk_that_would_go_below_the_reserve_is_full(tmp_path: Path) -> None:
    greedy = Staging(tmp_path / "staging", "me", 2**60)
    greedy.open()
    assert greedy.free_bytes() == 0
    with pytest.raises(StorageFull) as caught:
        async with greedy.stage(chunks(b"x"), 1):
            pass
    assert (caught.value.status, caught.value.code) == (507, "storage_full")
    assert files(greedy) == []
    greedy.close()


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more, as it does on a full disk (Python ignores the signal for it)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_write_that_the_kernel_refuses_is_full_and_leaves_nothing(staging: Staging) -> None:
    with files_no_larger_than(2 * PIECE_BYTES), pytest.raises(StorageFull):
        async with staging.stage(chunks(bytes(4 * PIECE_BYTES)), 10 * MB):
            pass
    assert files(staging) == []


def test_what_a_dead_process_left_is_swept_and_that_of_the_living_stays(tmp_path: Path) -> None:
    root = tmp_path / "staging"
    living, newcomer = Staging(root, "living", 0), Staging(root, "newcomer", 0)
    assert living.open() == []
    (root / "living" / "half").write_text("of a file")
    (root / "dead").mkdir()
    (root / "dead" / "half").write_text("of another")
    (root / "dead.lock").touch()  # nobody holds it: the kernel let go of it
    assert newcomer.open() == ["dead"]
    assert sorted(path.name for path in root.iterdir()) == [
        "living",
        "living.lock",
        "newcomer",
        "newcomer.lock",
    ]
    assert (root / "living" / "half").exists()
    living.close()
    newcomer.close()
    assert list(root.iterdir()) == []
