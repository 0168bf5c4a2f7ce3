"""A content id has one spelling; whatever else looks like one is refused."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ipfs import Cid, Codec, parse_cid
from tests.shared.ipfs.published import HELLO_WORLD


def spelled(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode().lower().rstrip("=")


@given(st.sampled_from(Codec), st.binary(max_size=99))
def test_a_cid_is_read_as_it_is_written(codec: Codec, data: bytes) -> None:
    cid = Cid.of(codec, data)
    assert parse_cid(str(cid)) == cid
    assert cid.digest == hashlib.sha256(data).digest()


DIGEST = bytes(31) + b"\x01"
REFUSED = {
    "empty": "",
    "version 0": "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
    "upper case": HELLO_WORLD.upper(),
    "upper case behind the prefix": "b" + HELLO_WORLD[1:].upper(),
    "one capital": HELLO_WORLD[:-1] + "I",
    "base58": "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
    "base36": "k2jmtxw8rjh1z69c6not3wtdxb0u3urbzhyll1t9jg6ox26dhi5sfi1m",
    "padded": HELLO_WORLD + "=",
    "too short": HELLO_WORLD[:-1],
    "too long": HELLO_WORLD + "a",
    "bits behind the last byte": spelled(b"\x01\x55\x12\x20" + DIGEST)[:-1] + "b",
    "line end": HELLO_WORLD + "\n",
    "space": " " + HELLO_WORLD[1:],
    "not base32": HELLO_WORLD[:-1] + "1",
    "not ascii": HELLO_WORLD[:-1] + "ï",
    "small letters that are none": HELLO_WORLD[:-1] + "ı",
    "dag-cbor": spelled(b"\x01\x71\x12\x20" + DIGEST),
    "version 2": spelled(b"\x02\x55\x12\x20" + DIGEST),
    "sha3": spelled(b"\x01\x55\x16\x20" + DIGEST),
    "a shorter hash": spelled(b"\x01\x55\x12\x1f" + DIGEST),
    "an identity hash": "bafkqaaa",
    "a path": "../" + HELLO_WORLD[3:],
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CIDv1 in lower-case base32"):
        parse_cid(text)


def test_the_last_character_has_one_spelling() -> None:
    """36 bytes fill 288 of the 290 bits that 58 characters have; the two left over are zero."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    good = []
    for last in alphabet:
        try:
            good.append(str(parse_cid(HELLO_WORLD[:-1] + last)))
        except ValueError:
            continue
    assert good == [HELLO_WORLD[:-1] + last for last in alphabet[::4]]
