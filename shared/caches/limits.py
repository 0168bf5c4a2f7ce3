"""What a key, a ttl and a cursor may be."""

import base64
import binascii
import math
import re

from shared.errors import BadRequest

OPERATIONS_INCLUDED = 50_000
"""With every cache that is bought."""
OPERATIONS_MAX = 100 * OPERATIONS_INCLUDED
"""In one top-up."""
KEY_MAX_BYTES = 512
VALUE_MAX_BYTES = 1024 * 1024
TTL_MAX_S = 10 * 365 * 86_400
PAGE_MAX = 1_000
DEFAULT_REGION = "us-east-1"

_CACHE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def checked_key(key: str) -> bytes:
    """The key as UTF-8. Any text of 1 to 512 bytes will do, but for control characters."""
    try:
        name = key.encode()
    except UnicodeEncodeError:
        raise BadRequest("A key must be text: a lone surrogate is none.", code="invalid_key") from None
    if not 0 < len(name) <= KEY_MAX_BYTES:
        raise BadRequest(f"A key must have 1 to {KEY_MAX_BYTES} bytes of UTF-8.", code="invalid_key")
    if _CONTROL.search(key):
        raise BadRequest("A key must not have control characters.", code="invalid_key")
    return name


def checked_prefix(prefix: str) -> bytes:
    """As a key; empty for all keys."""
    return checked_key(prefix) if prefix else b""


def checked_ttl(ttl_s: int | None) -> int:
    """Milliseconds, 0 for no ttl."""
    if ttl_s is None:
        return 0
    if not 1 <= ttl_s <= TTL_MAX_S:
        raise BadRequest(f"A ttl must be 1 to {TTL_MAX_S} seconds (10 years).", code="invalid_ttl")
    return ttl_s * 1000


def ttl_s_of(ttl_ms: int) -> int:
    """Rounded up: a key that is there has a ttl of at least one second."""
    return math.ceil(ttl_ms / 1000)


def checked_cache_id(cache_id: str) -> str:
    """An id that a new cache may have."""
    if not is_cache_id(cache_id):
        raise BadRequest("A cacheId is 1 to 64 letters, digits, '-' and '_'.", code="invalid_cache_id")
    return cache_id


def is_cache_id(cache_id: str) -> bool:
    return _CACHE_ID.fullmatch(cache_id) is not None


def checked_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise BadRequest("A region is 1 to 64 letters, digits and '-'.", code="invalid_region")
    return region


def checked_page(limit: int) -> int:
    if not 1 <= limit <= PAGE_MAX:
        raise BadRequest(f"limit must be 1 to {PAGE_MAX}.", code="invalid_limit")
    return limit


def cursor_of(position: bytes) -> str:
    """An opaque text for the place where a page ended."""
    return base64.urlsafe_b64encode(position).decode().rstrip("=")


def position_of(cursor: str | None) -> bytes:
    """The place that `cursor_of` was given, empty for the beginning. Raises `BadRequest`."""
    if cursor is None:
        return b""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        position = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        position = b""
    if not 0 < len(position) <= KEY_MAX_BYTES + 8:
        raise BadRequest("The cursor is none that a list of this cache returned.", code="invalid_cursor")
    return position
