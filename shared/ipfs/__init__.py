"""IPFS for files: their content ids, and what lets a stranger check bytes against one. Does no I/O itself."""

from shared.ipfs.blocks import dump_blocks, load_blocks
from shared.ipfs.builder import CHUNK_BYTES, Builder, Dag
from shared.ipfs.car import CAR_MEDIA_TYPE, RAW_MEDIA_TYPE, car_parts, root_block
from shared.ipfs.cids import Block, Cid, Codec, parse_cid

__all__ = [
    "CAR_MEDIA_TYPE",
    "CHUNK_BYTES",
    "RAW_MEDIA_TYPE",
    "Block",
    "Builder",
    "Cid",
    "Codec",
    "Dag",
    "car_parts",
    "dump_blocks",
    "load_blocks",
    "parse_cid",
    "root_block",
]
