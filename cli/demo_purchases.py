"""What the demo buys: runs, storage and a cache, each used and its receipt printed."""

import hashlib
import os
from typing import Self

from rich.console import Console

from cli.client import in_a_sentence
from cli.config import CliError, Config
from galaksio import AsyncClient, Price, Stored
from galaksio.results import Sold
from shared.money import usd_to_atomic

SNIPPETS = {
    "python": "import sys\nprint('Hello from a paid sandbox, on Python', sys.version.split()[0])",
    "javascript": "console.log('Hello from a paid sandbox, on Node', process.version)",
    "bash": 'echo "Hello from a paid sandbox, on bash $BASH_VERSION"',
}
FILE_BYTES = 5_000_000


class Purchases:
    """Buys with the wallet of `config` and adds up what was paid. Raises `CliError` if anything is off."""

    def __init__(self, console: Console, config: Config) -> None:
        self.spent_atomic = 0
        self._console = console
        self._client = AsyncClient(
            config.private_key,
            config.broker_url,
            network=config.network,
            max_cost_usd=config.max_cost_usd,
            on_price=self._show_price,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def run(self, language: str) -> None:
        """One snippet in `language`."""
        with in_a_sentence():
            done = await self._client.run(SNIPPETS[language], language)
        if done.exit_code != 0:
            raise CliError(f"The {language} run failed: {done}")
        self._say(done.stdout.strip(), style="green")
        self._say(f"{done.execution_time} ms, isolation {done.isolation}")
        self._book(done)

    async def store_text(self) -> None:
        """A line of text."""
        text = "Kept for an hour, and paid by the byte\n"
        with in_a_sentence():
            stored = await self._client.store(text, filename="hello.txt")
        await self._fetch_back(stored, text.encode())

    async def store_file(self) -> None:
        """A larger file."""
        data = os.urandom(FILE_BYTES)
        with in_a_sentence():
            stored = await self._client.store(data, filename="random.bin", ttl=3600)
        await self._fetch_back(stored, data)

    async def cache(self) -> None:
        """A cache: a value over plain HTTP, a counter with a command of Redis."""
        with in_a_sentence():
            cache = await self._client.create_cache("us-east-1")
            await cache.set("greeting", {"hello": "world"}, ttl=60)
            value = await cache.get("greeting")
            count = await cache.command("INCRBY", "visits", 3)
        if (value, count) != ({"hello": "world"}, 3):
            raise CliError(f"The cache answered {value} and {count} instead of what was set.")
        bought = cache.bought
        self._say(f"{bought.cache_id}, {bought.operations} operations, {bought.endpoint}")
        self._say(f"PUT, GET /greeting: {value}; INCRBY visits 3: {count}", style="green")
        self._book(bought)

    async def _fetch_back(self, stored: Stored, data: bytes) -> None:
        with in_a_sentence():
            if await self._client.fetch(stored.cid) != data:
                raise CliError(f"What came back for {stored.cid} is not what was stored.")
        self._say(stored.url)
        digest = hashlib.sha256(data).hexdigest()
        self._say(f"{len(data)} bytes came back as they were, SHA-256 {digest[:16]}…", style="green")
        self._book(stored)

    def _book(self, sold: Sold) -> None:
        if sold.receipt is None:
            raise CliError(f"Job {sold.job_id} has no receipt.")
        self._say(f"receipt: job {sold.job_id}, transaction {sold.receipt.transaction}")
        self.spent_atomic += usd_to_atomic(sold.price_usd)

    def _show_price(self, price: Price) -> None:
        self._say(f"Price: ${price.usd} in USDC on {price.network}, to {price.pay_to}")

    def _say(self, line: str, style: str | None = None) -> None:
        self._console.print(f"   {line}", style=style, highlight=False, markup=False)
