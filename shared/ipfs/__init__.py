"""IPFS for files: their content ids, and what lets a stranger check bytes against one. Does no I/O itself."""

from shared.ipfs.builder import CHUNK_BYTES, Builder, Dag
from shared.ipfs.cids import Block, Cid, Codec, parse_cid

__all__ = ["CHUNK_BYTES", "Block", "Builder", "Cid", "Codec", "Dag", "parse_cid"]
