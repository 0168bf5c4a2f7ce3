"""CAR v1: a file with the nodes of its tree in one stream, so that a stranger can check every byte of it.

`header | section…`, a section being `length | CID | block` (https://ipld.io/specs/transport/car/carv1/).
Blocks come depth first and as often as they occur, as the trustless gateway's `order=dfs; dups=y` says
(https://specs.ipfs.tech/http-gateways/trustless-gateway/): neither side has to keep more than one block.
"""

from collections.abc import AsyncIterator, Iterable, Mapping

from shared.ipfs.blocks import section
from shared.ipfs.builder import CHUNK_BYTES
from shared.ipfs.cids import Block, Cid, Codec
from shared.ipfs.nodes import children
from shared.ipfs.varints import varint

CAR_MEDIA_TYPE = "application/vnd.ipld.car; version=1; order=dfs; dups=y"
RAW_MEDIA_TYPE = "application/vnd.ipld.raw"

_HEADER_BEFORE = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
"""DAG-CBOR: a map of two, "roots": one element, tag 42 (a CID), 37 bytes of which the first is 0."""
_HEADER_AFTER = b"\x67version\x01"


async def car_parts(inner: Iterable[Block], root: Cid, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The CAR of the file `root`: its header, then one part for each block.

    `inner` are the file's nodes, `content` all of its bytes in portions of any size, taken as they are
    needed. Raises `ValueError` when a node is missing or the content ends too early.
    """
    yield _header(root)
    nodes = {block.cid: block.data for block in inner}
    portions = _Portions(content)
    waiting: list[tuple[Cid, int | None]] = [(root, None)]
    while waiting:
        cid, size_bytes = waiting.pop()
        if cid.codec is Codec.RAW:
            yield section(cid, await _leaf(portions, size_bytes))
            continue
        data = _node(nodes, cid)
        yield section(cid, data)
        waiting.extend(reversed(children(data)))


async def root_block(inner: Iterable[Block], root: Cid, content: AsyncIterator[bytes]) -> bytes:
    """The one block that `root` names: the content itself, at most 256 KiB of it, or the topmost node.

    Raises `ValueError` when that node is missing.
    """
    if root.codec is Codec.RAW:
        return await _leaf(_Portions(content), None)
    return _node({block.cid: block.data for block in inner}, root)


def _header(root: Cid) -> bytes:
    header = _HEADER_BEFORE + bytes(root) + _HEADER_AFTER
    return varint(len(header)) + header


def _node(nodes: Mapping[str, bytes], cid: Cid) -> bytes:
    data = nodes.get(str(cid))
    if data is None:
        raise ValueError("a node of the file's tree is missing")
    return data


async def _leaf(portions: "_Portions", size_bytes: int | None) -> bytes:
    """The next block of the content; without a size it is all of it."""
    data = await portions.take(CHUNK_BYTES if size_bytes is None else size_bytes)
    if size_bytes is not None and len(data) != size_bytes:
        raise ValueError("the content is shorter than its tree says")
    return data


class _Portions:
    """Portions of any size, cut anew. Holds what was asked for and one portion at most."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._buffer = bytearray()

    async def take(self, size_bytes: int) -> bytes:
        """The next `size_bytes`, or what is left of the content."""
        while len(self._buffer) < size_bytes:
            portion = await anext(self._content, None)
            if portion is None:
                break
            self._buffer += portion
        taken = bytes(memoryview(self._buffer)[:size_bytes])
        del self._buffer[:size_bytes]
        return taken
