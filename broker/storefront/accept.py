"""Whether a client wants a page or JSON (RFC 9110 §12.5.1)."""

from collections.abc import Iterable

MAX_ACCEPT_BYTES = 4096
_PAYMENT_HEADERS = frozenset({b"x-payment", b"payment-signature"})


def wants_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the raw ASGI `headers` are a browser's: `Accept` names text/html and prefers it to JSON.

    `*/*`, a tie, and whoever sends a payment get JSON.
    """
    accepts = []
    for name, value in headers:
        if name.lower() in _PAYMENT_HEADERS:
            return False
        if name.lower() == b"accept":
            accepts.append(value)
    accept = b",".join(accepts)[:MAX_ACCEPT_BYTES].lower()
    if b"text/html" not in accept:
        return False
    ranges = _ranges(accept.decode("latin-1"))
    json = next(
        (ranges[kind] for kind in ("application/json", "application/*", "*/*") if kind in ranges), 0.0
    )
    # A wildcard of the same weight is less specific than text/html, so the page wins that tie.
    named_json = "application/json" in ranges
    html = ranges.get("text/html", 0.0)
    return html > json or (html == json > 0 and not named_json)


def _ranges(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[kind] = min(1.0, max(0.0, float(weight)))
        except ValueError:
            found[kind] = 0.0
    return found
