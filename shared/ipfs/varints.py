"""Unsigned varints: seven bits a byte, the lowest first (https://github.com/multiformats/unsigned-varint)."""

MAX_VARINT_BYTES = 9


def varint(value: int) -> bytes:
    """`value` (not negative, under 2^63) in as few bytes as it needs."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends. Raises `ValueError` when it is cut off, too long or padded."""
    value = 0
    for position, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if byte == 0 and position:
                raise ValueError("a varint has needless bytes")
            return value, at + position + 1
    raise ValueError("a varint has no end")
