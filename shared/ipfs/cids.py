"""Content ids: the CIDs that `ipfs add --cid-version=1` gives to files, and no others.

A CID is `version 1 | codec | sha2-256 | 32 | digest` in base32 (https://github.com/multiformats/cid). With
one version, one hash and one spelling, a block has exactly one name here.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum

DIGEST_BYTES = 32
CID_BYTES = 4 + DIGEST_BYTES
CID_CHARACTERS = 59
_BASE32 = "b"
_REFUSED = "a content id here is a CIDv1 in lower-case base32, like bafkrei… or bafybei…"


class Codec(IntEnum):
    """What a block's bytes are: a piece of a file as it is, or a node that links to pieces."""

    RAW = 0x55
    DAG_PB = 0x70


@dataclass(frozen=True)
class Cid:
    """A block's name. `str()` is its text of 59 characters, `bytes()` its 36 bytes."""

    codec: Codec
    digest: bytes

    @classmethod
    def of(cls, codec: Codec, data: bytes) -> "Cid":
        return cls(codec, hashlib.sha256(data).digest())

    def __bytes__(self) -> bytes:
        return bytes((1, self.codec, 0x12, DIGEST_BYTES)) + self.digest

    def __str__(self) -> str:
        return _BASE32 + base64.b32encode(bytes(self)).decode().rstrip("=").lower()


@dataclass(frozen=True)
class Block:
    """A node of a file's tree: its CID as text, and its bytes."""

    cid: str
    data: bytes


def parse_cid(text: str) -> Cid:
    """The CID that `text` spells. Raises `ValueError` for any other codec, hash, version or spelling."""
    if len(text) != CID_CHARACTERS:
        raise ValueError(_REFUSED)
    try:
        cid = cid_from_bytes(base64.b32decode(text[1:].upper() + "======"))
    except ValueError:
        raise ValueError(_REFUSED) from None
    if str(cid) != text:  # another prefix, case or alphabet, or bits behind the last byte
        raise ValueError(_REFUSED)
    return cid


def cid_from_bytes(data: bytes) -> Cid:
    """The CID whose binary form `data` is. Raises `ValueError`."""
    if len(data) != CID_BYTES or data[0] != 1 or data[2:4] != bytes((0x12, DIGEST_BYTES)):
        raise ValueError("not a CIDv1 with sha2-256")
    return Cid(Codec(data[1]), data[4:])
