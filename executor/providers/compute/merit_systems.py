"""Runs Python at merit-systems (providers.md): a snippet goes there, its output comes back."""

import json
import math
import time
from typing import Any, cast

from executor.providers.base import Context, LanguageInfo, ProviderStatus, Task
from executor.providers.compute.base import with_code
from executor.providers.remote import NotOffered, Remote, paid
from executor.sandbox.limits import LIMITS
from executor.upstream.base import Order
from shared.jobs import RunRequest, RunResult, Truncated

SLACK_S = 15.0
"""What it may take beyond the run's own time: to answer, to be paid, to start."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_RAW_BYTES = 64 * 1024
LANGUAGE = "python"


class RemoteRun(RunResult):
    """With the fields of merit-systems (providers.md); `raw_response` is null when it is over 64 KB."""

    output: str
    error: str | None
    raw_response: dict[str, Any] | None


class MeritSystems(Remote):
    """A snippet alone: no input, arguments, files, environment or packages go along."""

    kind = "compute"

    def __init__(self, context: Context) -> None:
        super().__init__(context, "merit-systems")
        self._url = context.settings.merit_systems_url

    def status(self) -> ProviderStatus:
        languages = [LanguageInfo(name=LANGUAGE, version="")]
        return super().status().model_copy(update={"languages": languages})

    async def execute(self, task: Task) -> RunResult:
        """Raises `UpstreamError`, `NotOffered`, and the errors of fetching code from a URL."""
        self._check_on()
        _check_offered(cast(RunRequest, task.request))
        request = await with_code(self._context.storage, task)
        order = Order(
            "POST",
            self._url,
            step="run",
            json={"snippet": request.code},
            timeout_s=request.timeout_s + SLACK_S,
            max_bytes=MAX_ANSWER_BYTES,
        )
        began_s = time.monotonic()
        with self._judged():
            answer = await self._buy(task, order)
            took_ms = round((time.monotonic() - began_s) * 1000)
            said = self._object(answer.body)
            output, error = self._said(said)
        stdout, stdout_cut = _cut(output)
        stderr, stderr_cut = _cut(error or "")
        return RemoteRun(
            stdout=stdout,
            stderr=stderr,
            exit_code=1 if error else 0,
            truncated=Truncated(stdout=stdout_cut, stderr=stderr_cut),
            execution_time=_ms(said.get("executionTime"), took_ms),
            isolation="remote",
            language=LANGUAGE,
            version="",
            upstream=paid(answer.receipt),
            output=stdout,
            error=stderr or None,
            raw_response=said if len(answer.body) <= MAX_RAW_BYTES else None,
        )

    def _said(self, said: dict[str, Any]) -> tuple[str, str | None]:
        """The output and the error. Raises `UpstreamRefused` for an answer that has neither."""
        output, error = said.get("output"), said.get("error")
        if output is None:
            output = said.get("result")
        if isinstance(error, dict):  # an exception with its name, value and traceback
            error = json.dumps(error, ensure_ascii=False)
        texts = (output, error)
        if texts == (None, None) or not all(text is None or isinstance(text, str) for text in texts):
            raise self._refused("answered without an output")
        return output or "", error or None


def _check_offered(request: RunRequest) -> None:
    """Raises `NotOffered`."""
    if request.language != LANGUAGE:
        raise NotOffered("merit-systems runs python only.")
    extras = (request.stdin, request.args, request.files, request.env, request.dependencies)
    if any(extras) or request.encoding != "utf-8":
        raise NotOffered("merit-systems takes code alone: no input, files, environment or dependencies.")


def _cut(text: str) -> tuple[str, bool]:
    """As much of a text as is kept of a run here, and whether that is less than all."""
    data = text.encode()
    most_bytes = LIMITS.output_kept_bytes
    return data[:most_bytes].decode(errors="ignore"), len(data) > most_bytes


def _ms(said: Any, took_ms: int) -> int:
    """The time that it says, else the time that it took from here."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < 86_400_000:
        return took_ms
    return math.ceil(said)


def provider(context: Context) -> MeritSystems:
    return MeritSystems(context)
