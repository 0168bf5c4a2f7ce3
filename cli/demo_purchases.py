"""What the demo buys: runs, storage and a cache, each used and its receipt printed."""

import hashlib
import io
import os
from typing import Any

import httpx
from rich.console import Console

from cli.client import Paid, paid_post
from cli.config import CliError, Config
from cli.upload import Content, paid_upload
from shared.money import usd_to_atomic
from shared.store import UNKNOWN_TYPE

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
        self._config = config

    async def run(self, language: str) -> None:
        """One snippet in `language`."""
        paid = await self._post("/run", {"code": SNIPPETS[language], "language": language})
        result = paid.body["result"]
        if result["exitCode"] != 0:
            raise CliError(f"The {language} run failed: {result}")
        self._say(result["stdout"].strip(), style="green")
        self._say(f"{result['executionTime']} ms, isolation {result['isolation']}")
        self._book(paid)

    async def store_text(self) -> None:
        """A line of text, as JSON."""
        text = "Kept for an hour, and paid by the byte\n"
        paid = await self._post("/store", {"data": text, "filename": "hello.txt"})
        await self._fetch_back(paid, text.encode())

    async def store_file(self) -> None:
        """A larger file, as multipart."""
        data = os.urandom(FILE_BYTES)
        paid = await paid_upload(
            self._config,
            "/store",
            {"permanent": "false", "ttl": "3600"},
            Content(io.BytesIO(data), len(data), "random.bin", UNKNOWN_TYPE),
            show=self._say,
            progress=lambda _: None,
        )
        await self._fetch_back(paid, data)

    async def cache(self) -> None:
        """A cache: a value over plain HTTP, a counter with a command of Redis."""
        paid = await self._post("/cache", {"region": "us-east-1"})
        bought = paid.body["result"]
        bearer = {"Authorization": f"Bearer {bought['token']}"}
        async with httpx.AsyncClient(trust_env=False, headers=bearer) as http:
            entry = f"{bought['endpoint']}/greeting"
            _json(await http.put(entry, json={"value": {"hello": "world"}, "ttl": 60}))
            value = (_json(await http.get(entry)))["value"]
            count = (_json(await http.post(bought["endpoint"], json=["INCRBY", "visits", 3])))["result"]
        if (value, count) != ({"hello": "world"}, 3):
            raise CliError(f"The cache answered {value} and {count} instead of what was set.")
        self._say(f"{bought['cacheId']}, {bought['operations']} operations, {bought['endpoint']}")
        self._say(f"PUT, GET /greeting: {value}; INCRBY visits 3: {count}", style="green")
        self._book(paid)

    async def _fetch_back(self, paid: Paid, data: bytes) -> None:
        result = paid.body["result"]
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.get(f"{self._config.broker_url}/ipfs/{result['cid']}")
        if answer.status_code != 200 or answer.content != data:
            raise CliError(f"What came back for {result['cid']} is not what was stored.")
        self._say(result["url"])
        digest = hashlib.sha256(data).hexdigest()
        self._say(f"{len(data)} bytes came back as they were, SHA-256 {digest[:16]}…", style="green")
        self._book(paid)

    async def _post(self, path: str, body: dict[str, Any]) -> Paid:
        return await paid_post(self._config, path, body, self._say)

    def _book(self, paid: Paid) -> None:
        if paid.receipt is None:
            raise CliError(f"Job {paid.body['jobId']} has no receipt.")
        self._say(f"receipt: job {paid.body['jobId']}, transaction {paid.receipt['transaction']}")
        self.spent_atomic += usd_to_atomic(paid.body["price_usd"])

    def _say(self, line: str, style: str | None = None) -> None:
        self._console.print(f"   {line}", style=style, highlight=False, markup=False)


def _json(answer: httpx.Response) -> Any:
    if answer.status_code != 200:
        raise CliError(f"{answer.request.method} {answer.url} came to {answer.status_code}: {answer.text}")
    return answer.json()
