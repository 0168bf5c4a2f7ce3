"""A file's nodes as bytes, to be kept beside its content; never believed unseen when they come back."""

from collections.abc import Iterable

from shared.ipfs.cids import CID_BYTES, Block, Cid, Codec, cid_from_bytes
from shared.ipfs.nodes import children
from shared.ipfs.varints import read_varint, varint


def section(cid: Cid, data: bytes) -> bytes:
    """A block as CAR v1 writes it: the length of what follows, the CID, the block."""
    return b"".join((varint(CID_BYTES + len(data)), bytes(cid), data))


def dump_blocks(inner: Iterable[Block]) -> bytes:
    """`inner` as the sections of a CAR without its header; empty for a file of one block."""
    return b"".join(section(Cid.of(Codec.DAG_PB, block.data), block.data) for block in inner)


def load_blocks(data: bytes, root: Cid) -> tuple[Block, ...]:
    """What `dump_blocks` wrote for the file `root`, every node checked against its CID and none missing.

    Raises `ValueError` when the bytes are not exactly that.
    """
    nodes: dict[Cid, Block] = {}
    at = 0
    while at < len(data):
        length, start = read_varint(data, at)
        at = start + length
        cid, block = cid_from_bytes(data[start : start + CID_BYTES]), data[start + CID_BYTES : at]
        if at > len(data) or Cid.of(Codec.DAG_PB, block) != cid:
            raise ValueError("a node of the file's tree is damaged")
        nodes[cid] = Block(str(cid), block)
    if _reachable(nodes, root) != set(nodes):
        raise ValueError("the nodes are those of another file")
    return tuple(nodes.values())


def _reachable(nodes: dict[Cid, Block], root: Cid) -> set[Cid]:
    """The nodes below `root`, with it. Raises `ValueError` when one is missing."""
    found: set[Cid] = set()
    waiting = {root}
    while waiting:
        cid = waiting.pop()
        if cid.codec is Codec.RAW or cid in found:
            continue
        if cid not in nodes:
            raise ValueError("a node of the file's tree is missing")
        found.add(cid)
        waiting.update(child for child, _ in children(nodes[cid].data))
    return found
