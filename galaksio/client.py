"""The client for programs without an event loop: `AsyncClient` in a thread, call by call."""

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from galaksio import aclient, downloads
from galaksio.aclient import AsyncClient, Files, Operation
from galaksio.cache import Cache
from galaksio.content import Source
from galaksio.portal import Portal
from galaksio.prices import Usd
from galaksio.results import Comparison, Job, Payment, Run, Stored
from galaksio.uploads import Progress
from shared.caches.limits import DEFAULT_REGION
from shared.jobs import DEFAULT_SIZE, DEFAULT_TIMEOUT_S, Size

if TYPE_CHECKING:
    from galaksio.wallet import OnPrice


class Client:
    """As `AsyncClient`, but each call waits. `with` closes its connections and ends its thread.

    It may be used by many threads, and where an event loop is running, which it holds up meanwhile.
    """

    def __init__(
        self,
        private_key: str | None = None,
        base_url: str = aclient.DEFAULT_URL,
        *,
        network: str = aclient.DEFAULT_NETWORK,
        max_cost_usd: Usd = aclient.DEFAULT_CAP_USD,
        budget_usd: Usd | None = aclient.DEFAULT_BUDGET_USD,
        pay_to: str | None = None,
        on_price: "OnPrice | None" = None,
        timeout_s: float = aclient.TIMEOUT_S,
    ) -> None:
        """As `AsyncClient`. Raises `ValueError` for settings that cannot be."""
        self._client = AsyncClient(
            private_key,
            base_url,
            network=network,
            max_cost_usd=max_cost_usd,
            budget_usd=budget_usd,
            pay_to=pay_to,
            on_price=on_price,
            timeout_s=timeout_s,
        )
        self._portal = Portal()

    @property
    def address(self) -> str | None:
        """As `AsyncClient.address`."""
        return self._client.address

    @property
    def signed_usd(self) -> Decimal:
        """As `AsyncClient.signed_usd`."""
        return self._client.signed_usd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; calls that others still wait for are broken off."""
        self._portal.close(self._client.close())

    # -- what is paid --------------------------------------------------------------------------

    def run(
        self,
        code: str,
        language: str = "python",
        *,
        stdin: str | None = None,
        args: Sequence[str] = (),
        files: Files | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        size: Size = DEFAULT_SIZE,
        dependencies: Sequence[str] = (),
        provider: str | None = None,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> Run:
        """As `AsyncClient.run`."""
        run = self._client.run(
            code,
            language,
            stdin=stdin,
            args=args,
            files=files,
            env=env,
            timeout=timeout,
            size=size,
            dependencies=dependencies,
            provider=provider,
            max_cost_usd=max_cost_usd,
            payment_id=payment_id,
        )
        return self._portal.run(run)

    def store(
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
        """As `AsyncClient.store`."""
        stored = self._client.store(
            content,
            url=url,
            filename=filename,
            content_type=content_type,
            permanent=permanent,
            ttl=ttl,
            provider=provider,
            progress=progress,
            max_cost_usd=max_cost_usd,
            payment_id=payment_id,
        )
        return self._portal.run(stored)

    def create_cache(
        self,
        region: str = DEFAULT_REGION,
        ttl: int | None = None,
        *,
        provider: str | None = None,
        max_cost_usd: Usd | None = None,
        payment_id: str | None = None,
    ) -> Cache:
        """As `AsyncClient.create_cache`."""
        cache = self._client.create_cache(
            region, ttl, provider=provider, max_cost_usd=max_cost_usd, payment_id=payment_id
        )
        return Cache(self._portal, self._portal.run(cache))

    # -- what is free --------------------------------------------------------------------------

    def cache(self, cache_id: str, token: str) -> Cache:
        """As `AsyncClient.cache`."""
        return Cache(self._portal, self._client.cache(cache_id, token))

    def fetch(self, cid: str, *, max_bytes: int = downloads.MAX_FETCH_BYTES, verify: bool = True) -> bytes:
        """As `AsyncClient.fetch`."""
        return self._portal.run(self._client.fetch(cid, max_bytes=max_bytes, verify=verify))

    def stream(self, cid: str, *, verify: bool = True) -> Iterator[bytes]:
        """As `AsyncClient.stream`."""
        return self._portal.iterate(self._client.stream(cid, verify=verify))

    def download(self, cid: str, path: str | os.PathLike[str], *, verify: bool = True) -> int:
        """As `AsyncClient.download`."""
        return self._portal.run(self._client.download(cid, path, verify=verify))

    def quote(self, operation: Operation, **ask: Any) -> Comparison:
        """As `AsyncClient.quote`."""
        return self._portal.run(self._client.quote(operation, **ask))

    def job(self, job_id: str) -> Job:
        """As `AsyncClient.job`."""
        return self._portal.run(self._client.job(job_id))

    def wait(self, job: Job | str, *, timeout_s: float = aclient.TIMEOUT_S) -> Job:
        """As `AsyncClient.wait`."""
        return self._portal.run(self._client.wait(job, timeout_s=timeout_s))

    def payments(self, limit: int = 100) -> list[Payment]:
        """As `AsyncClient.payments`."""
        return self._portal.run(self._client.payments(limit))
