"""Talking to one broker, and to nobody else: no redirects, no answers without end, no waits without end."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic_core import from_json

from galaksio.errors import BadAnswer, Said

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_TEXT = 500
"""Characters of a broker's own words that are passed on."""
CONNECT_S = 10.0
STALLED_S = 60.0
"""How long content that is fetched may stand still."""


class Lost(Exception):
    """There is no answer, or not all of it. The text says what happened."""


@dataclass(frozen=True)
class Reply:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Raises `BadAnswer` for anything else."""
        try:
            # It ends at its own depth; json's depends on what else the program has imported.
            return from_json(self.content)
        except ValueError:
            raise BadAnswer("What came is not JSON: is it a Galaksio broker?", self.said()) from None

    def fields(self) -> dict[str, Any]:
        """The JSON object that it is, empty for anything else."""
        try:
            value = from_json(self.content)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def said(self) -> Said:
        """The names that the broker gave to what happened."""
        fields = self.fields()
        after = self.headers.get("retry-after", "")
        return Said(
            status=self.status,
            code=text_of(fields.get("code")),
            request_id=text_of(fields.get("requestId") or self.headers.get("x-request-id")),
            job_id=text_of(fields.get("jobId")),
            retry_after_s=int(after) if after.isascii() and after.isdecimal() and len(after) < 7 else None,
        )

    def reason(self) -> str:
        """The broker's words for an error, or the name of its status."""
        told = text_of(self.fields().get("error"))
        return told or httpx.codes.get_reason_phrase(self.status) or "no reason given"


def text_of(value: Any) -> str | None:
    """A text of a broker's, cut to a sensible length; None for anything else."""
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


class Connection:
    """Requests to the broker at `base_url`, each within `timeout_s` altogether."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self.base_url = checked_url(base_url)
        self.timeout_s = timeout_s
        outside = asks_environment(self.base_url)
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            trust_env=outside,
            verify=outside,  # plain HTTP on this machine knows no certificates, which take a while to load
            # What is compressed could grow without end.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        **content: Any,
    ) -> Reply:
        """One request; `content` is `json` or `params`. Raises `Lost`, or `BadAnswer` when it is too much."""
        try:
            async with (
                asyncio.timeout(timeout_s or self.timeout_s),
                self._http.stream(method, self.base_url + path, headers=headers, **content) as answer,
            ):
                body = await read_limited(answer.aiter_raw())
                return Reply(answer.status_code, answer.headers, body)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise Lost(type(exc).__name__) from None

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[tuple[Reply | None, AsyncIterator[bytes]]]:
        """The body of a GET as it comes; for another status than 200 the answer, read. Raises `Lost`."""
        try:
            async with self._http.stream(
                "GET", self.base_url + path, timeout=STALLED_S, headers={"Accept": "*/*"}
            ) as answer:
                refused = None
                if answer.status_code != 200:
                    body = await read_limited(answer.aiter_raw())
                    refused = Reply(answer.status_code, answer.headers, body)
                yield refused, answer.aiter_raw()
        except httpx.HTTPError as exc:
            raise Lost(type(exc).__name__) from None

    def own_path(self, location: str) -> str | None:
        """The path of `location`, when it is one at this broker."""
        if not location:
            return None
        try:
            url = httpx.URL(self.base_url + "/").join(location)
        except (httpx.InvalidURL, TypeError):
            return None
        ours = str(url).startswith(self.base_url + "/") and url.userinfo == b""
        return str(url).removeprefix(self.base_url) if ours else None

    async def close(self) -> None:
        await self._http.aclose()


async def read_limited(pieces: AsyncIterator[bytes]) -> bytes:
    """All of a body. Raises `BadAnswer` as soon as it is over `MAX_ANSWER_BYTES`."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise BadAnswer(f"The broker's answer is over {MAX_ANSWER_BYTES} bytes and was not read.")
    return bytes(body)


def checked_url(url: str) -> str:
    """A broker's address without a slash at its end. Raises `ValueError` for what is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a broker: write it like https://broker.example")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("the address of a broker has no user, query or fragment")
    return url.rstrip("/")


def asks_environment(url: str) -> bool:
    """Whether the environment's proxies count for `url`: not for plain HTTP on this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme != "http" or not local
