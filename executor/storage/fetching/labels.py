"""What a stranger's server calls its file: cut down to what can be kept and shown without care."""

import re
import unicodedata
import warnings

from aiohttp import content_disposition_filename, parse_content_disposition
from yarl import URL

MAX_NAME_BYTES = 200
UNKNOWN_TYPE = "application/octet-stream"
_PART = r"[a-z0-9!#$&^_.+-]{1,63}"
_TYPE = re.compile(rf"\s*({_PART}/{_PART})\s*(?:;|$)", re.ASCII)
_CHARSET = re.compile(r';\s*charset="?([a-z0-9_.:-]{1,40})"?\s*(?:;|$)', re.ASCII)


def safe_content_type(header: str | None) -> str:
    """`type/subtype` in lower case, with its charset if it has one; `UNKNOWN_TYPE` for anything else."""
    text = (header or "").lower()
    found = _TYPE.match(text)
    if not found:
        return UNKNOWN_TYPE
    charset = _CHARSET.search(text)
    return f"{found[1]}; charset={charset[1]}" if charset else found[1]


def safe_file_name(text: str | None) -> str | None:
    """The last part of `text` without what no file name needs: folders, control and direction characters,
    leading dots. At most `MAX_NAME_BYTES` of UTF-8, a short ending kept. None when nothing is left.
    """
    last = re.split(r"[/\\]", text or "")[-1]
    shown = "".join(char for char in unicodedata.normalize("NFC", last) if _is_shown(char))
    name = " ".join(shown.split()).strip(". ")
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > 20:
        return _cut(name, MAX_NAME_BYTES) or None
    return _cut(stem, MAX_NAME_BYTES - len(ending.encode()) - 1) + dot + ending


def name_of(disposition: str | None, url: URL) -> str | None:
    """The file name that a `Content-Disposition` (RFC 6266) gives, else the one at the end of `url`."""
    return safe_file_name(_from_disposition(disposition)) or safe_file_name(url.name)


def _from_disposition(header: str | None) -> str | None:
    with warnings.catch_warnings():  # aiohttp warns of each header that is not well-formed
        warnings.simplefilter("ignore")
        _, params = parse_content_disposition(header)
        return content_disposition_filename(params)


def _is_shown(char: str) -> bool:
    """Not a control, format, surrogate, private or unassigned character; a space is one of ours."""
    return char.isspace() or not unicodedata.category(char).startswith("C")


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore").rstrip(". ")
