"""The nodes of a file's tree: UnixFS v1 in dag-pb, both written by hand because they are this small.

Sources: https://ipld.io/specs/codecs/dag-pb/spec/ and https://specs.ipfs.tech/unixfs/. A node holds no
content itself: it names its parts in order, and how many bytes of the file each of them covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.ipfs.cids import Block, Cid, Codec, cid_from_bytes
from shared.ipfs.varints import read_varint, varint

_FILE = b"\x08\x02"
"""UnixFS `Type` = File."""
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18
_DATA, _LINK = 0x0A, 0x12
_FILE_SIZE, _BLOCK_SIZE = b"\x18", b"\x20"


@dataclass(frozen=True)
class Link:
    """A part of a file: `size_bytes` of the content, `tree_bytes` with the nodes that it takes."""

    cid: Cid
    size_bytes: int
    tree_bytes: int


def encode_node(links: Sequence[Link]) -> tuple[Block, Link]:
    """The node over `links`, and the link by which the node above names it."""
    size_bytes = sum(link.size_bytes for link in links)
    sizes = b"".join(_BLOCK_SIZE + varint(link.size_bytes) for link in links)
    unixfs = _FILE + _FILE_SIZE + varint(size_bytes) + sizes
    data = b"".join(_field(_LINK, _encode_link(link)) for link in links) + _field(_DATA, unixfs)
    cid = Cid.of(Codec.DAG_PB, data)
    tree_bytes = len(data) + sum(link.tree_bytes for link in links)
    return Block(str(cid), data), Link(cid, size_bytes, tree_bytes)


def children(data: bytes) -> list[tuple[Cid, int]]:
    """The parts that a node names, in order, each with its `tree_bytes` (for a raw part: its own size).

    Raises `ValueError` for what `encode_node` does not write.
    """
    found, at = [], 0
    while at < len(data) and data[at] == _LINK:
        length, start = read_varint(data, at + 1)
        at = start + length
        found.append(_decode_link(data[start:at]))
    if not found or data[at : at + 1] != bytes((_DATA,)):
        raise ValueError("not a node of a file")
    length, start = read_varint(data, at + 1)
    if start + length != len(data) or data[start : start + len(_FILE)] != _FILE:
        raise ValueError("not a node of a file")
    return found


def _encode_link(link: Link) -> bytes:
    return _field(_HASH, bytes(link.cid)) + _field(_NAME, b"") + bytes((_TSIZE,)) + varint(link.tree_bytes)


def _decode_link(data: bytes) -> tuple[Cid, int]:
    length, start = read_varint(data, 1)
    cid, at = cid_from_bytes(data[start : start + length]), start + length
    if data[0] != _HASH or data[at : at + 3] != bytes((_NAME, 0, _TSIZE)):
        raise ValueError("not a link to a part of a file")
    tree_bytes, end = read_varint(data, at + 3)
    if end != len(data):
        raise ValueError("not a link to a part of a file")
    return cid, tree_bytes


def _field(tag: int, data: bytes) -> bytes:
    return bytes((tag,)) + varint(len(data)) + data
