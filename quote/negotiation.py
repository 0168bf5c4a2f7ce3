"""Which of the forms we have an `Accept` header wants (RFC 9110 §12.5.1)."""

from collections.abc import Sequence

MAX_ENTRIES = 32


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The one of the media types `offered` with the highest quality, the first of equals.

    The first as well where none of them is wanted: an answer in another form is better than none.
    """
    ranges = [_read(entry) for entry in accept.split(",")[:MAX_ENTRIES]] if accept.strip() else []
    return max(offered, key=lambda media: _quality(media, ranges))


def _read(entry: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media, _number(value.strip())
    return media, 1.0


def _number(text: str) -> float:
    whole, _, fraction = text.partition(".")
    well_formed = len(text) <= 5 and text.isascii() and (whole + fraction).isdigit()
    return min(float(text), 1.0) if well_formed else 0.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """By the most specific range that covers it."""
    for covering in (media, f"{media.partition('/')[0]}/*", "*/*"):
        for given, quality in ranges:
            if given == covering:
                return quality
    return 0.0
