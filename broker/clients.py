"""The broker's two neighbours: quote names prices, executor does the work."""

import json
from typing import Any

import httpx
from pydantic import ValidationError

from shared.errors import BadRequest, GalaksioError, Unavailable
from shared.logs import get_logger, request_id
from shared.quotes import QuoteList

log = get_logger(__name__)

EXECUTOR_SLACK_S = 45.0
"""What the executor may take beyond the run's own limit: queue, start, clean-up."""

MAX_RESULT_BYTES = 32 * 1024 * 1024
"""More than any result can be: 8 MB of files and 512 KB of output, as base64 and JSON."""

# What the executor says about the request itself may be repeated to the client.
_CLIENT_FAULTS = frozenset({400, 413, 422})


class QuoteClient:
    """`POST /quote/*` of the quote service."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def compare(self, path: str, ask: dict[str, Any]) -> QuoteList:
        """All prices for `ask`. Raises `BadRequest` for an ask that quote refuses, else `Unavailable`."""
        body = {name: value for name, value in ask.items() if value is not None}
        response = await self.forward("POST", path, json=body)
        if response.status_code in _CLIENT_FAULTS:
            raise _client_fault(response.status_code, _json_of(response))
        try:
            response.raise_for_status()
            return QuoteList.model_validate(response.json())
        except (httpx.HTTPError, ValidationError, ValueError) as exc:
            log.error("quote_answer_not_understood", error=type(exc).__name__, status=response.status_code)
            raise _quote_down() from None

    async def forward(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Ask quote and return its answer as it is. Raises `Unavailable` when there is none."""
        try:
            return await self._client.request(method, path, headers=_trace(), **kwargs)
        except httpx.HTTPError as exc:
            log.warning("quote_unreachable", error=type(exc).__name__)
            raise _quote_down() from None


class ExecutorClient:
    """`POST /execute` of the executor, idempotent by job id."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def execute(
        self, job_id: str, task_type: str, provider: str, task: dict[str, Any], time_limit_s: float
    ) -> Any:
        """The result of the work. Whatever else happens raises, and the customer is not charged."""
        try:
            async with self._client.stream(
                "POST",
                "/execute",
                json={"jobId": job_id, "taskType": task_type, "provider": provider, **task},
                timeout=httpx.Timeout(time_limit_s + EXECUTOR_SLACK_S, connect=3.0),
                headers=_trace(),
            ) as response:
                answer = json.loads(await _read_bounded(response, MAX_RESULT_BYTES))
        except (httpx.HTTPError, ValueError, RecursionError) as exc:
            log.error("executor_unreachable", job_id=job_id, error=type(exc).__name__)
            raise Unavailable(
                "the executor does not answer; nothing was charged", code="executor_unavailable"
            ) from None
        if response.status_code == 200 and isinstance(answer, dict) and answer.get("status") == "completed":
            return answer.get("result")
        if response.status_code in _CLIENT_FAULTS:
            raise _client_fault(response.status_code, answer)
        code = answer.get("code") if isinstance(answer, dict) else None
        log.error("execution_failed", job_id=job_id, status=response.status_code, code=code)
        raise Unavailable(
            "the work could not be done for reasons of ours; nothing was charged",
            code=str(code or "execution_failed"),
            extra={"jobId": job_id},
        )

    async def providers(self) -> Any:
        return await self._get("/providers")

    async def runtimes(self) -> Any:
        return await self._get("/runtimes")

    async def _get(self, path: str) -> Any:
        response = await self._client.get(path, headers=_trace())
        response.raise_for_status()
        return response.json()


def _trace() -> dict[str, str]:
    return {"X-Request-ID": value} if (value := request_id()) else {}


def _quote_down() -> Unavailable:
    return Unavailable("prices cannot be named now; nothing was charged", code="quote_unavailable")


async def _read_bounded(response: httpx.Response, limit_bytes: int) -> bytes:
    """The body; raises `ValueError` when it is over the limit, before holding more of it."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit_bytes:
            raise ValueError("the answer is too large")
        parts.append(part)
    return b"".join(parts)


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _client_fault(status: int, answer: Any) -> GalaksioError:
    body = answer if isinstance(answer, dict) else {}
    message, code = body.get("error"), body.get("code")
    return BadRequest(
        message if isinstance(message, str) else "the request was refused",
        status=status,
        code=code if isinstance(code, str) else "bad_request",
    )
