"""HTTP to the remote providers: bounded in time and size, and nothing of ours goes along."""

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Heard:
    """One answer, read whole; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Outside:
    """A client of other people's servers. `timeout_s` bounds a whole answer."""

    def __init__(self, timeout_s: float) -> None:
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> "Outside":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, url: str, *, json: Any = None) -> Heard:
        """Raises `Failed` when there is no whole answer in time."""
        response = await self._http.request(method, url, json=json)
        return Heard(response.status_code, dict(response.headers), response.content)
