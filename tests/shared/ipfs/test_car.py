"""CAR files and raw blocks: what a stranger needs to check a file against its CID."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from shared.ipfs import Builder, Dag, builder, car_parts, dump_blocks, load_blocks, parse_cid, root_block
from shared.ipfs.builder import CHUNK_BYTES
from tests.shared.ipfs.published import content
from tests.shared.ipfs.reader import read_car

SIZES = [0, 5, CHUNK_BYTES, CHUNK_BYTES + 1, 174 * CHUNK_BYTES + 1]


def imported(data: bytes) -> Dag:
    building = Builder()
    building.update(data)
    return building.finish()


async def portions(data: bytes, portion_bytes: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), portion_bytes):
        yield data[at : at + portion_bytes]


async def car(dag: Dag, data: bytes, portion_bytes: int = 100_000) -> bytes:
    parts = car_parts(dag.inner, parse_cid(dag.cid), portions(data, portion_bytes))
    return b"".join([part async for part in parts])


@pytest.mark.parametrize("size_bytes", SIZES)
@pytest.mark.parametrize("kind", ["zeros", "counter"])
async def test_a_stranger_gets_the_file_out_of_its_car(kind: str, size_bytes: int) -> None:
    data = b"".join(content(kind, size_bytes))
    dag = imported(data)
    root, file, _ = read_car(await car(dag, data))
    assert (root, file) == (dag.cid, data)


async def test_blocks_come_depth_first_and_repeated_ones_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "CHUNK_BYTES", 2)
    monkeypatch.setattr(builder, "LINKS_PER_NODE", 3)
    data = bytes(20)
    dag = imported(data)
    _, file, order = read_car(await car(dag, data, 7))
    leaf = imported(b"\0\0").cid
    three, nine, one = (imported(bytes(size)).cid for size in (6, 18, 2))
    assert file == data
    assert order[:6] == [dag.cid, nine, three, leaf, leaf, leaf]
    assert order[6:14] == [three, leaf, leaf, leaf, three, leaf, leaf, leaf]
    assert order[16:] == [one]


async def test_portions_may_be_of_any_size() -> None:
    data = b"".join(content("counter", 3 * CHUNK_BYTES + 9))
    dag = imported(data)
    cars = {await car(dag, data, size) for size in (1_000, CHUNK_BYTES, CHUNK_BYTES + 1, len(data))}
    assert len(cars) == 1


async def test_a_car_comes_in_parts_of_one_block_while_the_content_is_read() -> None:
    data = b"".join(content("counter", 40 * CHUNK_BYTES))
    dag = imported(data)
    read = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read
        async for portion in portions(data, 1_000_000):
            read += len(portion)
            yield portion

    given = 0
    async for part in car_parts(dag.inner, parse_cid(dag.cid), counted()):
        given += len(part)
        assert len(part) <= CHUNK_BYTES + 40
        assert read - given <= 1_000_000, "read ahead"
    assert given > len(data)


async def test_content_that_ends_too_early_breaks_the_stream() -> None:
    data = b"".join(content("counter", 2 * CHUNK_BYTES))
    with pytest.raises(ValueError, match="shorter"):
        await car(imported(data), data[:-1])


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_the_raw_block_of_a_file_hashes_to_its_cid(size_bytes: int) -> None:
    data = b"".join(content("counter", size_bytes))
    dag = imported(data)
    block = await root_block(dag.inner, parse_cid(dag.cid), portions(data, 1_000))
    assert hashlib.sha256(block).digest() == parse_cid(dag.cid).digest
    assert len(block) <= CHUNK_BYTES


@pytest.mark.parametrize("size_bytes", SIZES)
def test_nodes_come_back_as_they_were_kept(size_bytes: int) -> None:
    dag = imported(b"".join(content("counter", size_bytes)))
    assert load_blocks(dump_blocks(dag.inner), parse_cid(dag.cid)) == dag.inner


FILE = imported(b"".join(content("counter", 174 * CHUNK_BYTES + 1)))
KEPT = dump_blocks(FILE.inner)


@pytest.mark.parametrize("at", [0, 2, 10, 38, 60, 5_000, len(KEPT) // 2, len(KEPT) - 1])
def test_damage_anywhere_is_seen_when_nodes_are_loaded(at: int) -> None:
    damaged = bytearray(KEPT)
    damaged[at] ^= 1
    with pytest.raises(ValueError):
        load_blocks(bytes(damaged), parse_cid(FILE.cid))


def test_nodes_that_are_missing_or_of_another_file_are_seen() -> None:
    root = parse_cid(FILE.cid)
    other = imported(bytes(2 * CHUNK_BYTES))
    for kept in (b"", KEPT[:-1], KEPT + b"\0", dump_blocks(FILE.inner[1:]), dump_blocks(other.inner)):
        with pytest.raises(ValueError):
            load_blocks(kept, root)
    with pytest.raises(ValueError):
        load_blocks(KEPT + dump_blocks(other.inner), root)
    with pytest.raises(ValueError):
        load_blocks(KEPT, parse_cid(imported(b"one block").cid))


def test_a_length_that_reaches_beyond_the_end_is_seen() -> None:
    dag = imported(bytes(2 * CHUNK_BYTES))
    kept = dump_blocks(dag.inner)
    with pytest.raises(ValueError):
        load_blocks(bytes((kept[0] + 1,)) + kept[1:], parse_cid(dag.cid))


async def test_a_car_cannot_be_made_without_all_nodes() -> None:
    with pytest.raises(ValueError, match="missing"):
        _ = [part async for part in car_parts(FILE.inner[1:], parse_cid(FILE.cid), portions(bytes(9), 9))]
    with pytest.raises(ValueError, match="missing"):
        await root_block((), parse_cid(FILE.cid), portions(b"", 1))
