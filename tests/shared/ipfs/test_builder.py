"""Files get the CIDs that every other IPFS importer gives them, however their bytes come in."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.ipfs import CHUNK_BYTES, Builder, Dag, builder
from tests.shared.ipfs.published import HELLO_WORLD, PUBLISHED, SMALL, content


def built(*portions: bytes) -> Dag:
    building = Builder()
    for portion in portions:
        building.update(portion)
    return building.finish()


@pytest.mark.parametrize(("kind", "size_bytes", "cid"), PUBLISHED)
def test_a_file_gets_its_published_cid(kind: str, size_bytes: int, cid: str) -> None:
    building, whole = Builder(), hashlib.sha256()
    for portion in content(kind, size_bytes):
        building.update(portion)
        whole.update(portion)
    dag = building.finish()
    assert (dag.cid, dag.size_bytes, dag.sha256) == (cid, size_bytes, whole.hexdigest())


def test_hello_world_has_its_published_cid() -> None:
    assert built(b"hello world\n").cid == HELLO_WORLD


@pytest.mark.parametrize(("size_bytes", "cid"), SMALL.items())
def test_trees_of_many_levels_have_the_shape_of_the_other_importer(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int, cid: str
) -> None:
    monkeypatch.setattr(builder, "CHUNK_BYTES", 2)
    monkeypatch.setattr(builder, "LINKS_PER_NODE", 3)
    assert built(bytes(range(size_bytes))).cid == cid


CONTENT = b"".join(content("counter", 3 * CHUNK_BYTES + 1))
CUTS = st.lists(st.integers(0, len(CONTENT)), max_size=8)


@given(CUTS)
@example([CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES])
@example([CHUNK_BYTES - 1, CHUNK_BYTES - 1, CHUNK_BYTES + 1])
def test_any_split_of_a_file_gives_the_same_tree(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(CONTENT)]
    portions = [CONTENT[start:end] for start, end in pairwise(bounds)]
    assert built(*portions) == built(CONTENT)


def test_buffers_of_any_kind_are_taken_and_stay_free_to_change() -> None:
    buffer = bytearray(CONTENT)
    assert built(memoryview(CONTENT)) == built(buffer) == built(CONTENT)  # type: ignore[arg-type]
    buffer.clear()  # a view that was kept would forbid this


def test_only_nodes_are_kept_and_each_of_them_once() -> None:
    dag = built(*content("zeros", 4 * 174 * CHUNK_BYTES))
    assert len(dag.inner) == 2
    assert dag.inner[-1].cid == dag.cid
    assert sum(len(block.data) for block in dag.inner) < 10_000
