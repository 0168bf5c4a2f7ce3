"""The headers under which strangers' content is served from our own origin, without becoming part of it.

Nothing in it may run there: `Content-Security-Policy: sandbox` gives a page an origin of its own and no
script, `nosniff` keeps browsers from guessing, all but a few inert types are downloaded and not shown, and
what claims to be a script is served as text, so that no page can include it either.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from executor.storage.rows import Found
from shared.clock import Clock
from shared.ipfs import CAR_MEDIA_TYPE, RAW_MEDIA_TYPE

Format = Literal["file", "raw", "car"]
MEDIA_TYPES: dict[str, Format] = {"application/vnd.ipld.raw": "raw", "application/vnd.ipld.car": "car"}
FOR_GOOD_S = 31_536_000
_SHOWN = frozenset(
    {
        "image/apng",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
        "text/plain",
        "application/json",
        "application/pdf",
    }
)
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
}
_NAME_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&'()+,-.;=@[]^_`{}~"
)


@dataclass(frozen=True)
class Served:
    """A way to hand content out: what it is called, its entity tag and its type."""

    etag: str
    content_type: str
    disposition: str


def served(found: Found, format: Format) -> Served:
    if format == "car":
        return Served(f'"{found.cid}.car"', CAR_MEDIA_TYPE, disposition("attachment", f"{found.cid}.car"))
    if format == "raw":
        return Served(f'"{found.cid}.raw"', RAW_MEDIA_TYPE, disposition("attachment", f"{found.cid}.bin"))
    how: Literal["inline", "attachment"] = "inline" if _is_inert(found.content_type) else "attachment"
    return Served(f'"{found.cid}"', _harmless(found.content_type), disposition(how, found.name))


def headers_of(found: Found, way: Served, clock: Clock) -> dict[str, str]:
    """All headers but those about the length."""
    ranges = "bytes" if way.etag == f'"{found.cid}"' else "none"
    return {
        "Content-Type": way.content_type,
        "Content-Disposition": way.disposition,
        "ETag": way.etag,
        "Accept-Ranges": ranges,
        "Cache-Control": _cache_control(found, clock),
        "Vary": "Accept",
        "X-Ipfs-Path": f"/ipfs/{found.cid}",
        **_SECURITY,
    }


def disposition(how: Literal["inline", "attachment"], name: str) -> str:
    """`Content-Disposition` (RFC 6266): any name in ASCII for old clients, and whole (RFC 8187)."""
    if not name:
        return how
    plain = "".join(character if character in _NAME_PLAIN else "_" for character in name)
    if plain == name:
        return f'{how}; filename="{name}"'
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_inert(content_type: str) -> bool:
    kind = content_type.partition(";")[0]
    return kind in _SHOWN or kind.startswith(("audio/", "video/"))


def _harmless(content_type: str) -> str:
    kind = content_type.partition(";")[0]
    return "text/plain; charset=utf-8" if "javascript" in kind or "ecmascript" in kind else content_type


def _cache_control(found: Found, clock: Clock) -> str:
    if found.expires_at is None:
        return f"public, max-age={FOR_GOOD_S}, immutable"
    return f"public, max-age={max(0, min(FOR_GOOD_S, int(found.expires_at - clock())))}"
