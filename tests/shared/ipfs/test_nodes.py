"""Nodes are read only as they are written: nothing that merely looks like a file's node passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ipfs import Cid, Codec
from shared.ipfs.nodes import Link, children, encode_node
from shared.ipfs.varints import read_varint, varint

PART = Cid.of(Codec.RAW, b"part")
LINK = b"\x0a\x24" + bytes(PART) + b"\x12\x00\x18\x04"
FILE = b"\x08\x02\x18\x04\x20\x04"
"""UnixFS: a file of 4 bytes in one part."""


def node(link: bytes, unixfs: bytes = FILE) -> bytes:
    return b"\x12" + varint(len(link)) + link + b"\x0a" + varint(len(unixfs)) + unixfs


def test_a_node_is_written_as_the_format_says() -> None:
    block, above = encode_node([Link(PART, 4, 4)])
    assert block.data == node(LINK)
    assert block.cid == str(Cid.of(Codec.DAG_PB, block.data))
    assert (above.size_bytes, above.tree_bytes) == (4, 4 + len(block.data))
    assert children(block.data) == [(PART, 4)]


@given(st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 2**50)), min_size=1, max_size=174))
def test_a_node_names_its_parts_in_order(parts: list[tuple[bytes, int]]) -> None:
    links = [Link(Cid.of(Codec.RAW, data), size, size) for data, size in parts]
    block, _ = encode_node(links)
    assert children(block.data) == [(link.cid, link.size_bytes) for link in links]


REFUSED = {
    "nothing": b"",
    "no part": b"\x0a\x06" + FILE,
    "no file": b"\x12" + varint(len(LINK)) + LINK,
    "a folder": node(LINK, b"\x08\x01"),
    "cut off": node(LINK)[:-1],
    "more behind it": node(LINK) + b"\0",
    "data before parts": b"\x0a\x06" + FILE + b"\x12" + varint(len(LINK)) + LINK,
    "another field": b"\x1a" + node(LINK)[1:],
    "another field behind the parts": b"\x12" + varint(len(LINK)) + LINK + b"\x1a\x06" + FILE,
    "a part with a name": node(LINK.replace(b"\x12\x00", b"\x12\x01a")),
    "a part with more behind it": node(LINK + b"\0"),
    "a part without its size": node(LINK[:-2]),
    "a part whose hash comes second": node(b"\x12" + LINK[1:]),
    "a part of another hash": node(LINK.replace(b"\x12\x20", b"\x16\x20")),
    "a part of another version": node(LINK.replace(b"\x01\x55", b"\x02\x55")),
    "a part of another kind": node(LINK.replace(b"\x01\x55", b"\x01\x71")),
    "a padded size": node(LINK[:-1] + b"\x84\x00"),
    "an endless size": node(LINK[:-1] + b"\x84" * 9 + b"\x01"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        children(data)


@given(st.integers(0, 2**63 - 1))
def test_a_varint_is_read_as_it_is_written(value: int) -> None:
    assert read_varint(b"\xff" + varint(value) + b"\xff", 1) == (value, 1 + len(varint(value)))
