"""HTTP to the remote providers: bounded in time and size, and nothing of ours goes along."""

import asyncio
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from quote.providers.base import Failed
from shared import __version__

MAX_BODY_BYTES = 64 * 1024
"""No price takes more."""
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)
_HEADERS = {
    "User-Agent": f"galaksio/{__version__}",
    "Accept": "application/json",
    # What is unpacked can be a thousand times as long as what was sent.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class Heard:
    """One answer, read whole; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Outside:
    """A client of other people's servers. `timeout_s` bounds a whole answer.

    It goes through the proxies that the environment names (HTTPS_PROXY, NO_PROXY), as every program of a
    host behind one has to; httpx takes no passwords out of `.netrc` unless it is told to. Cookies are not
    kept, redirects not followed.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            limits=_LIMITS,
            headers=_HEADERS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
        )

    async def __aenter__(self) -> "Outside":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, url: str, *, json: Any = None) -> Heard:
        """Raises `Failed` when there is no whole answer in time; the text has nothing of theirs."""
        try:
            # httpx bounds each read, which one byte now and then would satisfy for ever.
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(method, url, json)
        except (TimeoutError, httpx.TimeoutException):
            raise Failed(f"no whole answer within {self._timeout_s:g} s") from None
        except (httpx.ConnectError, httpx.ProxyError):
            raise Failed("it cannot be reached") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Failed("its answer broke off, or is not HTTP") from None

    async def _ask(self, method: str, url: str, json: Any) -> Heard:
        async with self._http.stream(method, url, json=json) as response:
            if 300 <= response.status_code < 400:
                raise Failed("it redirects elsewhere, which is not followed")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise Failed("it packs its answer, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Failed(f"its answer is over {MAX_BODY_BYTES // 1024} KB")
            return Heard(response.status_code, dict(response.headers), bytes(body))
