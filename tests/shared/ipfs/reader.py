"""A CAR reader that shares nothing with the writer: it believes no block and puts the file together."""

import base64
import hashlib
from collections.abc import Iterator


def read_car(data: bytes) -> tuple[str, bytes, list[str]]:
    """The root's CID, the file, and the CIDs of all blocks in their order. Fails on anything doubtful."""
    length, at = _varint(data, 0)
    header = data[at : at + length]
    assert header[:12] == b"\xa2eroots\x81\xd8\x2aX%" and header[12] == 0
    assert header[49:] == b"gversion\x01"
    root, at = header[13:49], at + length
    blocks = []
    while at < len(data):
        length, start = _varint(data, at)
        at = start + length
        assert at <= len(data)
        cid, block = data[start : start + 36], data[start + 36 : at]
        assert cid[:1] == b"\x01" and cid[1] in (0x55, 0x70) and cid[2:4] == b"\x12\x20"
        assert hashlib.sha256(block).digest() == cid[4:]
        blocks.append((cid, block))
    following = iter(blocks)
    file = b"".join(_walk(root, following))
    assert next(following, None) is None, "blocks that belong to nothing"
    return _text(root), file, [_text(cid) for cid, _ in blocks]


def _walk(wanted: bytes, following: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Depth first and with repetitions, the next block is always the one that is wanted."""
    cid, block = next(following)
    assert cid == wanted
    if cid[1] == 0x55:
        yield block
        return
    links, sizes = _node(block)
    assert len(links) == len(sizes)
    for link, size_bytes in zip(links, sizes, strict=True):
        part = b"".join(_walk(link, following))
        assert len(part) == size_bytes
        yield part


def _node(block: bytes) -> tuple[list[bytes], list[int]]:
    links, data = [], b""
    for field, value in _fields(block):
        if field == 2:
            links.append(next(bytes(v) for f, v in _fields(bytes(value)) if f == 1))
        else:
            assert field == 1 and data == b""
            data = bytes(value)
    unixfs = list(_fields(data))
    assert unixfs[0] == (1, 2), "a file"
    sizes = [value for field, value in unixfs if field == 4 and isinstance(value, int)]
    assert unixfs[1] == (3, sum(sizes))
    return links, sizes


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Protobuf, as far as dag-pb uses it."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _varint(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        else:
            assert tag & 7 == 2
            yield tag >> 3, data[at : at + value]
            at += value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _text(cid: bytes) -> str:
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")
