"""What the remote providers said last: each is asked only so often, however many want to know."""

from collections.abc import Awaitable, Callable
from typing import Any

Fetch = Callable[[], Awaitable[dict[str, Any]]]
"""Asks a provider. Returns JSON; raises `Decline`, `Failed`, or whatever goes wrong on the way."""


class Market:
    """Answers of remote providers by provider and key. A key holds nothing of a customer's."""

    async def ask(self, provider: str, key: str, fetch: Fetch) -> dict[str, Any]:
        """The answer to `key`. Raises `Decline`: from `fetch`, or because the provider keeps failing."""
        return await fetch()
