"""Between the wire and the sandbox: files of a request in, a result out."""

import base64
import signal as signals

from executor.sandbox.outputs import Encoding
from executor.sandbox.runs import Finished
from executor.sandbox.runtimes import Runtime
from shared.jobs import RunRequest, RunResult, Truncated


def request_files(request: RunRequest, runtime: Runtime) -> dict[str, bytes]:
    """The content of /box: the given files and the code."""
    return {**{file.name: file.data() for file in request.files}, runtime.code_name: request.code.encode()}


def run_result(finished: Finished, runtime: Runtime, isolation: str, encoding: Encoding) -> RunResult:
    """What the caller is told. A signal is read from exit code 128+n, as every shell does."""
    ending = finished.ending
    name = "SIGKILL" if ending.killed else _signal_of(ending.exit_code, runtime)
    return RunResult(
        stdout=_text(ending.stdout, encoding),
        stderr=_text(ending.stderr, encoding),
        exit_code=None if name else ending.exit_code,
        signal=name,
        timed_out=ending.killed == "timeout",
        oom_killed=ending.killed == "memory",
        truncated=Truncated(
            stdout=ending.stdout_truncated, stderr=ending.stderr_truncated, files=finished.files_left_out
        ),
        execution_time=ending.wall_ms,
        cpu_time_ms=ending.usage.cpu_ms,
        peak_memory_bytes=ending.usage.peak_memory_bytes,
        isolation=isolation,
        language=runtime.language,
        version=runtime.version,
        encoding=encoding,
        files=finished.files,
    )


def _signal_of(exit_code: int | None, runtime: Runtime) -> str | None:
    # A shell that outlives a killed child exits with 128+n itself: that is its exit code.
    if exit_code is None or exit_code <= 128 or runtime.language == "bash":
        return None
    try:
        return signals.Signals(exit_code - 128).name
    except ValueError:
        return None


def _text(data: bytes, encoding: Encoding) -> str:
    return base64.b64encode(data).decode() if encoding == "base64" else data.decode("utf-8", "replace")
