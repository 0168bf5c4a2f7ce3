"""The importer: bytes in, in any portions; the CID that `ipfs add --cid-version=1` prints out.

The content is cut into raw blocks of 256 KiB; up to 174 of them hang below one node, up to 174 nodes below
the next, so that every block lies equally deep ("balanced"). A file of one block is that block. Only nodes
are kept, 50 bytes for each 256 KiB, so memory stays flat.
"""

import hashlib
from dataclasses import dataclass

from shared.ipfs.cids import Block, Cid, Codec
from shared.ipfs.nodes import Link, encode_node

CHUNK_BYTES = 256 * 1024
LINKS_PER_NODE = 174


@dataclass(frozen=True)
class Dag:
    """A whole file: its CID, its size, the SHA-256 of its bytes in hex, and its nodes.

    `inner` holds each node once, children before the nodes above them; empty for a file of one block.
    """

    cid: str
    size_bytes: int
    sha256: str
    inner: tuple[Block, ...]


class Builder:
    """Builds one file's tree. The calls hash, so give large portions to a thread; one at a time."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._chunk_bytes = 0
        self._size_bytes = 0
        self._levels: list[list[Link]] = [[]]
        """Links that have no node above them yet; the blocks' own level first."""
        self._inner: dict[str, Block] = {}

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the content, any number of them. Nothing is copied."""
        portion, at = memoryview(data).cast("B"), 0
        self._whole.update(portion)
        self._size_bytes += len(portion)
        while at < len(portion):
            if self._chunk_bytes == CHUNK_BYTES:  # only now it is known not to be the last
                self._end_chunk()
            piece = portion[at : at + CHUNK_BYTES - self._chunk_bytes]
            self._chunk.update(piece)
            self._chunk_bytes += len(piece)
            at += len(piece)

    def finish(self) -> Dag:
        """The whole file. The builder is used up."""
        self._end_chunk()
        level = 0
        while len(self._levels) > level + 1 or len(self._levels[level]) > 1:
            self._end_node(level)
            level += 1
        (root,) = self._levels[level]
        inner = tuple(self._inner.values())
        return Dag(str(root.cid), self._size_bytes, self._whole.hexdigest(), inner)

    def _end_chunk(self) -> None:
        cid = Cid(Codec.RAW, self._chunk.digest())
        self._add(0, Link(cid, self._chunk_bytes, self._chunk_bytes))
        self._chunk, self._chunk_bytes = hashlib.sha256(), 0

    def _add(self, level: int, link: Link) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == LINKS_PER_NODE:
            self._end_node(level)
        self._levels[level].append(link)

    def _end_node(self, level: int) -> None:
        block, link = encode_node(self._levels[level])
        self._levels[level] = []
        self._inner[block.cid] = block
        self._add(level + 1, link)
