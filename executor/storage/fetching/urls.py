"""Which URLs are fetched, judged by their text: one plain spelling, so that all readers see the same host.

The address behind a name is judged where it is looked up (names.py); one that is written into the URL, here.
"""

import re
from collections.abc import Collection

from yarl import URL

from executor.storage.fetching.addresses import is_public
from executor.storage.fetching.errors import FetchRefused

MAX_URL_CHARACTERS = 2048
_HOST = r"(\[[0-9a-f:.]+\])?[^/?#@\[\]\\\x00-\x20\x7f]*"
_SHAPE = re.compile(rf"https?://{_HOST}([/?#][^\\\x00-\x20\x7f]*)?", re.IGNORECASE)
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def read_url(text: str, ports: Collection[int]) -> URL:
    """The URL that a customer wrote. Raises `FetchRefused`, saying what a URL must be."""
    if len(text) > MAX_URL_CHARACTERS:
        raise FetchRefused(f"a URL has at most {MAX_URL_CHARACTERS} characters")
    if not _SHAPE.fullmatch(text):
        raise FetchRefused(
            "a URL begins with http:// or https:// and a host, without user name, backslash or space"
        )
    try:
        url = URL(text)
    except ValueError:
        raise FetchRefused("this is not a URL") from None
    if url.port not in ports:
        raise FetchRefused(f"a URL's port is one of {', '.join(map(str, sorted(ports)))}")
    _check_host(url.raw_host or "")
    return url


def redirected(url: URL, location: str, ports: Collection[int]) -> URL:
    """Where an answer's `Location` leads to from `url`: judged as if a customer had written it."""
    try:
        target = read_url(str(url.join(URL(location))), ports)
    except ValueError:
        raise FetchRefused("the URL redirects to something that is not a URL") from None
    if url.scheme == "https" and target.scheme != "https":
        raise FetchRefused("the URL redirects from https to http")
    return target


def _check_host(host: str) -> None:
    """A name, or an address in the one spelling that all readers agree on: four decimal numbers for IPv4."""
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        if not is_public(host):
            raise FetchRefused("an address in a URL is spelled out and on the public internet")
    elif not _NAME.fullmatch(host):
        raise FetchRefused("a URL's host is a full domain name, like files.example.org, or an address")
