"""The broker's two neighbours: quote names prices, executor does the work."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from pydantic import ValidationError

from shared.calls import Caller, NoAnswer
from shared.errors import BadRequest, GalaksioError, Unavailable
from shared.logs import get_logger, request_id
from shared.quotes import QuoteList
from shared.store import UploadInfo, UrlInfo
from shared.tracing import step, trace_headers

log = get_logger(__name__)

EXECUTOR_SLACK_S = 45.0
"""What the executor may take beyond the run's own limit: queue, start, clean-up."""

MAX_RESULT_BYTES = 32 * 1024 * 1024
"""More than any result can be: 8 MB of files and 512 KB of output, as base64 and JSON."""

UPLOAD_TIMEOUT_S = 900.0
"""For a whole upload, however slow its sender."""
_STORE_FULL = 507

# What the executor says about the request itself may be repeated to the client.
_CLIENT_FAULTS = frozenset({400, 413, 422})


_NOT_THE_PROVIDER = frozenset(
    {"executor_unavailable", "executor_lost", "executor_busy", "results_unavailable", "database_unavailable"}
)
"""Codes with which the executor speaks of itself: the same job at the same provider may work later."""


class Unreachable(Unavailable):
    """It is not known what became of the job, or it did not begin: the executor's trouble, no provider's."""

    def __init__(self, code: str = "executor_unavailable") -> None:
        super().__init__("the executor cannot do the work now; nothing was charged", code=code)


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
        except (httpx.HTTPError, ValidationError, ValueError, RecursionError) as exc:
            log.error("quote_answer_not_understood", error=type(exc).__name__, status=response.status_code)
            raise _quote_down() from None

    async def forward(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> httpx.Response:
        """Ask quote and return its answer as it is. Raises `Unavailable` when there is none."""
        try:
            with step("quote"):
                sent = {**_trace(), **(headers or {})}
                return await self._client.request(method, path, headers=sent, **kwargs)
        except httpx.HTTPError as exc:
            log.warning("quote_unreachable", error=type(exc).__name__)
            raise _quote_down() from None


class ExecutorClient:
    """`POST /execute` of the executor, idempotent by job id."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def execute(
        self,
        job_id: str,
        task_type: str,
        provider: str,
        task: dict[str, Any],
        time_limit_s: float,
        *,
        max_spend_atomic: int = 0,
    ) -> Any:
        """The result of the work; for it the executor may pay others no more than `max_spend_atomic`.

        Whatever else happens raises, `Unreachable` when nobody knows what the executor did.
        """
        named = {"jobId": job_id, "taskType": task_type, "provider": provider}
        body = {**task, **named, "maxSpendAtomic": str(max_spend_atomic)}
        try:
            with step("execute"):
                response = await self._caller.post(
                    "/execute",
                    json.dumps(body).encode(),
                    timeout_s=time_limit_s + EXECUTOR_SLACK_S,
                    headers=_trace(),
                )
            answer = json.loads(response.body)
        except (NoAnswer, ValueError, RecursionError) as exc:
            log.error("executor_unreachable", job_id=job_id, error=str(exc)[:200])
            raise Unreachable from None
        if response.status == 200 and isinstance(answer, dict) and answer.get("status") == "completed":
            return answer.get("result")
        if response.status in _CLIENT_FAULTS:
            raise _client_fault(response.status, answer)
        code = answer.get("code") if isinstance(answer, dict) else None
        log.error("execution_failed", job_id=job_id, status=response.status, code=code)
        if code in _NOT_THE_PROVIDER:
            raise Unreachable(str(code))
        raise Unavailable(
            "the work could not be done for reasons of ours; nothing was charged",
            code=str(code or "execution_failed"),
            extra={"jobId": job_id},
        )

    async def undo(self, job_id: str, task_type: str, provider: str) -> None:
        """Have what a job left behind taken back. Raises `Unavailable` until that is certain."""
        body = {"jobId": job_id, "taskType": task_type, "provider": provider}
        try:
            answer = await self._caller.post("/undo", json.dumps(body).encode(), headers=_trace())
        except NoAnswer as exc:
            raise Unavailable(f"the executor does not answer ({exc})", code="executor_unavailable") from None
        if answer.status != 200:
            raise Unavailable(f"the executor answered {answer.status} to an undo", code="undo_failed")

    async def upload(self, content: AsyncIterator[bytes]) -> UploadInfo:
        """Hand content over before its job. Raises what `content` raises, `BadRequest` and `Unavailable`."""
        try:
            response = await self._caller.put_stream(
                "/uploads", content, headers=_trace(), timeout_s=UPLOAD_TIMEOUT_S
            )
            answer = json.loads(response.body)
            if response.status == 201:
                return UploadInfo.model_validate(answer)
        except (NoAnswer, ValueError, RecursionError) as exc:
            log.error("upload_failed", error=str(exc)[:200])
            raise Unavailable(
                "the content could not be handed over; nothing was charged", code="executor_unavailable"
            ) from None
        if response.status in _CLIENT_FAULTS:
            raise _client_fault(response.status, answer)
        code = answer.get("code") if isinstance(answer, dict) else None
        log.error("upload_refused", status=response.status, code=code)
        if response.status == _STORE_FULL:
            raise GalaksioError(
                "there is no room for this content here now; nothing was charged",
                status=507,
                code=str(code or "storage_full"),
            )
        raise Unavailable("no content can be taken in now; nothing was charged", code=str(code or "busy"))

    async def discard(self, upload_id: str) -> None:
        """Forget an upload that no job needs; the executor does so by itself after a while."""
        try:
            await self._caller.delete(f"/uploads/{upload_id}", _trace())
        except NoAnswer as exc:
            log.warning("upload_not_discarded", error=str(exc))

    async def measure(self, url: str) -> UrlInfo:
        """What is at a customer's address. Raises `BadRequest` for an address that will not do."""
        try:
            response = await self._caller.post(
                "/measure", json.dumps({"url": url}).encode(), headers=_trace()
            )
            answer = json.loads(response.body)
            if response.status == 200:
                return UrlInfo.model_validate(answer)
        except (NoAnswer, ValueError, RecursionError):
            raise Unavailable(
                "the executor does not answer; nothing was charged", code="executor_unavailable"
            ) from None
        if response.status in _CLIENT_FAULTS:
            raise _client_fault(response.status, answer)
        raise Unavailable("the address could not be looked at; nothing was charged", code="url_not_measured")

    async def providers(self) -> Any:
        """`GET /providers`. Raises `NoAnswer` or `ValueError`."""
        return await self._get("/providers")

    async def runtimes(self) -> Any:
        """`GET /runtimes`. Raises `NoAnswer` or `ValueError`."""
        return await self._get("/runtimes")

    async def _get(self, path: str) -> Any:
        answer = await self._caller.get(path)
        if answer.status != 200:
            raise ValueError(f"the executor answered {answer.status}")
        return json.loads(answer.body)


def _trace() -> dict[str, str]:
    return {**({"X-Request-ID": value} if (value := request_id()) else {}), **trace_headers()}


def _quote_down() -> Unavailable:
    return Unavailable("prices cannot be named now; nothing was charged", code="quote_unavailable")


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
