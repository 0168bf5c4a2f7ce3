"""The client for programs with an event loop; `galaksio.Client` is the same without one."""

import asyncio
import base64
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from galaksio import downloads
from galaksio.acache import AsyncCache
from galaksio.asks import Asks
from galaksio.connection import Connection
from galaksio.content import Source, opened
from galaksio.errors import OutcomeUnknown, Said, TermsRefused
from galaksio.paying import ENDED
from galaksio.prices import Usd, limit_atomic, usd
from galaksio.results import Comparison, Job, Payment, Run, Stored, read
from galaksio.uploads import Progress
from shared.caches.limits import DEFAULT_REGION
from shared.jobs import DEFAULT_SIZE, DEFAULT_TIMEOUT_S, Size

if TYPE_CHECKING:
    from galaksio.wallet import OnPrice

DEFAULT_URL = "http://localhost:8080"
DEFAULT_NETWORK = "base-sepolia"
DEFAULT_CAP_USD = Decimal("0.10")
DEFAULT_BUDGET_USD = Decimal(1)
TIMEOUT_S = 180.0
"""Of one request: a run, its place in the queue and its settlement take less."""
FREE_TIMEOUT_S = 15.0
POLL_S = 1.0

Operation = Literal["run", "store", "cache"]
Files = Mapping[str, bytes | str]


class AsyncClient:
    """Buys at one broker, and pays by itself within its limits. `async with` closes its connections.

    Without a `private_key` only what is free can be asked for. `max_cost_usd` caps a call, `budget_usd`
    (None: no end) all that this client ever signs: a signature counts whether or not it was taken. It pays
    USDC on `network` only, and only `pay_to`; without one, whoever it paid first. `on_price` is told each
    price in a thread of its own before it is signed, and turns it down by returning False.
    """

    def __init__(
        self,
        private_key: str | None = None,
        base_url: str = DEFAULT_URL,
        *,
        network: str = DEFAULT_NETWORK,
        max_cost_usd: Usd = DEFAULT_CAP_USD,
        budget_usd: Usd | None = DEFAULT_BUDGET_USD,
        pay_to: str | None = None,
        on_price: "OnPrice | None" = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Raises `ValueError` for settings that cannot be."""
        cap_atomic = limit_atomic(max_cost_usd)
        budget_atomic = None if budget_usd is None else limit_atomic(budget_usd)
        self._wallet = None
        if private_key is not None:
            from galaksio.wallet import Wallet  # signing takes a second to import

            self._wallet = Wallet(
                private_key,
                network,
                cap_atomic=cap_atomic,
                budget_atomic=budget_atomic,
                pay_to=pay_to,
                on_price=on_price,
            )
        self._connection = Connection(base_url, timeout_s)
        self._asks = Asks(self._connection, self._wallet)

    @property
    def address(self) -> str | None:
        """Of the wallet, None without one."""
        return None if self._wallet is None else self._wallet.address

    @property
    def signed_usd(self) -> Decimal:
        """What was signed so far, whether or not it was taken: what the budget is counted by."""
        return usd(0 if self._wallet is None else self._wallet.signed_atomic)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    # -- what is paid --------------------------------------------------------------------------

    async def run(
        self,
        code: str,
        language: str = "python",
        *,
        stdin: str | None = None,
        args: Sequence[str] = (),
        files: Files | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109 - the run's, not ours
        size: Size = DEFAULT_SIZE,
        dependencies: Sequence[str] = (),
        provider: str | None = None,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> Run:
        """Run `code` with `files` (name to content) in its folder, for at most `timeout` seconds.

        Code that fails is a `Run` too, and is paid: look at `exit_code`. `payment_id` (16 to 128 letters,
        digits, `-`, `_`) makes the call safe to repeat: the same id and request are charged once. Raises
        `Error`.
        """
        body = {
            "code": code,
            "language": language,
            "stdin": stdin,
            "args": list(args),
            "files": [_input_file(name, content) for name, content in (files or {}).items()] or None,
            "env": dict(env) if env else None,
            "timeout": timeout,
            "size": size,
            "dependencies": list(dependencies) or None,
            "provider": provider,
        }
        return await self._asks.run(body, self._asks.terms(max_cost_usd, payment_id))

    async def store(
        self,
        content: Source | None = None,
        *,
        url: str | None = None,
        filename: str | None = None,
        content_type: str | None = None,
        permanent: bool = False,
        ttl: int | None = None,
        provider: str | None = None,
        progress: Progress | None = None,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> Stored:
        """Keep `content`, or what is at `url`, for `ttl` seconds (3600 unless given) or for good.

        A `pathlib.Path` is a file and streamed from the disk, an open file is sent whole from its start; text
        and bytes are the content itself. `progress` is told how many bytes were sent, and how many
        there are. `payment_id` as in `run`. Raises `Error`, and `OSError` for a file that cannot be opened.
        """
        if (content is None) == (url is None):
            raise ValueError("say what to store: content, or url=…")
        if permanent and ttl is not None:
            raise ValueError("what is kept for good has no ttl: leave one of the two out")
        terms = self._asks.terms(max_cost_usd, payment_id)
        kept = {"permanent": permanent, **({} if ttl is None else {"ttl": ttl})}
        if content is None:
            named = {"filename": filename, "contentType": content_type, "provider": provider}
            return await self._asks.store_url({"data": {"url": url}, "options": kept, **named}, terms)
        fields = {name: str(value).lower() for name, value in kept.items()}
        fields |= {} if provider is None else {"provider": provider}
        async with opened(content, filename, content_type) as file:
            return await self._asks.upload(file, fields, progress or (lambda *_: None), terms)

    async def create_cache(
        self,
        region: str = DEFAULT_REGION,
        ttl: int | None = None,
        *,
        provider: str | None = None,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> AsyncCache:
        """A new cache that lives for `ttl` seconds, or without an end. Raises `Error`."""
        body = {"region": region, "ttl": ttl, "provider": provider}
        bought = await self._asks.create_cache(body, self._asks.terms(max_cost_usd, payment_id))
        return AsyncCache(self._asks, bought.cache_id, bought.token, bought)

    # -- what is free --------------------------------------------------------------------------

    def cache(self, cache_id: str, token: str) -> AsyncCache:
        """A cache that is there already. To top one up, the token may be empty."""
        return AsyncCache(self._asks, cache_id, token)

    async def fetch(
        self, cid: str, *, max_bytes: int = downloads.MAX_FETCH_BYTES, verify: bool = True
    ) -> bytes:
        """Stored content, in memory. `verify` checks it against its CID. Raises `Error`."""
        return await downloads.fetch(self._connection, cid, max_bytes=max_bytes, verify=verify)

    def stream(self, cid: str, *, verify: bool = True) -> AsyncGenerator[bytes, None]:
        """Stored content as it comes. With `verify` it raises at the end if that is not what the CID says."""
        return downloads.pieces(self._connection, cid, verify=verify)

    async def download(self, cid: str, path: str | os.PathLike[str], *, verify: bool = True) -> int:
        """Stored content, into a file; returns its size in bytes. What was there stays until it is whole.

        Raises `Error`, and `OSError` when the file cannot be written.
        """
        return await downloads.download(self._connection, cid, Path(path), verify=verify)

    async def quote(self, operation: Operation, **ask: Any) -> Comparison:
        """Prices of all providers: `quote("run", size="large", timeout=10)`. Raises `Error`."""
        reply = await self._asks.call("POST", f"/quote/{operation}", json=ask, timeout_s=FREE_TIMEOUT_S)
        return read(Comparison, reply)

    async def job(self, job_id: str) -> Job:
        """How a job stands. Raises `Error`."""
        path = f"/status/{quote(job_id, safe='')}"
        return read(Job, await self._asks.call("GET", path, timeout_s=FREE_TIMEOUT_S))

    async def wait(self, job: Job | str, *, timeout_s: float = TIMEOUT_S) -> Job:
        """The job once it has ended, well or not. Raises `OutcomeUnknown` when it has not by then."""
        job_id = job if isinstance(job, str) else job.id
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    now = await self.job(job_id)
                    if now.status in ENDED:
                        return now
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            said = Said(job_id=job_id)
            raise OutcomeUnknown(f"Job {job_id} has not ended within {timeout_s:g} s.", said, None) from None

    async def payments(self, limit: int = 100) -> list[Payment]:
        """What this wallet paid, newest first, with each receipt checked. Signs in, and out again."""
        from galaksio import history

        if self._wallet is None:
            raise TermsRefused("Only a wallet has payments: give the client a private_key.")
        return await history.payments(self._connection, self._wallet, limit)


def _input_file(name: str, content: bytes | str) -> dict[str, str]:
    if isinstance(content, str):
        return {"name": name, "content": content}
    return {"name": name, "content": base64.b64encode(content).decode(), "encoding": "base64"}
