"""Where a listing goes on: opaque to the client, bound to who asked and for what, and tamper-proof."""

import base64
import binascii
import hashlib
import hmac
import struct
import uuid
from dataclasses import dataclass

from shared.errors import BadRequest

_PLACE = struct.Struct(">Q16s")
_MAC_BYTES = 12
_LENGTH = (_PLACE.size + _MAC_BYTES) * 4 // 3


@dataclass(frozen=True)
class Place:
    """The last row that was shown: its creation time (Unix milliseconds) and its id (a UUID)."""

    created_at_ms: int
    id: str


class Cursors:
    """Writes and reads cursors with `secret`, which the brokers on one database share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, place: Place, listing: str) -> str:
        """The cursor after `place` in `listing` (any text that says whose rows and which)."""
        packed = _PLACE.pack(place.created_at_ms, uuid.UUID(place.id).bytes)
        return base64.urlsafe_b64encode(packed + self._mac(packed, listing)).decode()

    def read(self, cursor: str, listing: str) -> Place:
        """The place in a cursor that was written for `listing`. Raises `BadRequest` for any other text."""
        try:
            if len(cursor) != _LENGTH:
                raise ValueError
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _bad() from None
        packed, mac = raw[: _PLACE.size], raw[_PLACE.size :]
        if not hmac.compare_digest(mac, self._mac(packed, listing)):
            raise _bad()
        created_at_ms, id_ = _PLACE.unpack(packed)
        return Place(created_at_ms, str(uuid.UUID(bytes=id_)))

    def _mac(self, packed: bytes, listing: str) -> bytes:
        data = packed + listing.encode()
        return hashlib.blake2b(data, key=self._secret, digest_size=_MAC_BYTES).digest()


def _bad() -> BadRequest:
    return BadRequest("the cursor is not one of this listing: leave it out to start", code="invalid_cursor")
