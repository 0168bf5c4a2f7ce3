"""The page's own files, read once, and told apart by their hash."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
"""No inline script or style, nothing from elsewhere, and no HTML out of text, whatever the text is."""
_FOLDER = Path(__file__).with_name("page")
_HTML, _SCRIPT, _STYLE = "text/html", "text/javascript", "text/css"
_FILES = {
    "index.html": _HTML,
    "page.js": _SCRIPT,
    "render.js": _SCRIPT,
    "plots.js": _SCRIPT,
    "stream.js": _SCRIPT,
    "page.css": _STYLE,
    "uplot/uPlot.iife.min.js": _SCRIPT,
    "uplot/uPlot.min.css": _STYLE,
}


@dataclass(frozen=True)
class Asset:
    content: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """All files by name."""
    found = {}
    for name, media_type in _FILES.items():
        content = (_FOLDER / name).read_bytes()
        found[name] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


def served(request: Request, asset: Asset) -> Response:
    """The file, or 304 for a browser that has it."""
    headers = {
        "Cache-Control": "no-cache",
        "ETag": asset.etag,
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
