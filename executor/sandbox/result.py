"""Between the wire and the sandbox: files of a request in, a result out."""

import base64
import signal as signals

from executor.sandbox.limits import LIMITS
from executor.sandbox.outputs import Encoding
from executor.sandbox.runs import Finished
from executor.sandbox.runtimes import Runtime
from shared.errors import GalaksioError
from shared.jobs import RunRequest, RunResult, Truncated


class Cut(Truncated):
    """What did not fit: output beyond its limit, output files beyond theirs."""

    files: bool = False


class ExecutorResult(RunResult):
    """A `RunResult` that also says whether output files were left out."""

    truncated: Cut


def request_files(request: RunRequest, runtime: Runtime) -> dict[str, bytes]:
    """The content of /box. Raises 422 for what cannot be put there or not be passed to a program."""
    used = [*request.args, *(part for item in request.env.items() for part in item)]
    size = sum(len(_encoded(text)) + 1 for text in used)
    if size > LIMITS.arguments_bytes:
        raise GalaksioError(
            f"args and env are {size} bytes, the limit is {LIMITS.arguments_bytes}; use stdin or files",
            status=422,
            code="arguments_too_large",
        )
    files = {file.name: file.data() for file in request.files}
    if runtime.code_name in files or "out" in files:
        raise GalaksioError(
            f"files: {runtime.code_name} is the code itself and out the folder for results",
            status=422,
            code="reserved_file_name",
        )
    files[runtime.code_name] = _encoded(request.code)
    if (total := sum(map(len, files.values()))) > LIMITS.box_bytes // 2:
        raise GalaksioError(f"files are {total} bytes, too many", status=422, code="files_too_large")
    return files


def request_stdin(request: RunRequest) -> bytes:
    return _encoded(request.stdin)


def run_result(finished: Finished, runtime: Runtime, isolation: str, encoding: Encoding) -> ExecutorResult:
    """What the caller is told. A signal is read from exit code 128+n, as every shell does."""
    ending = finished.ending
    name = "SIGKILL" if ending.killed else _signal_of(ending.exit_code, runtime)
    return ExecutorResult(
        stdout=_text(ending.stdout, encoding),
        stderr=_text(ending.stderr, encoding),
        exit_code=None if name else ending.exit_code,
        signal=name,
        timed_out=ending.killed == "timeout",
        oom_killed=ending.killed == "memory",
        truncated=Cut(
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


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise GalaksioError(
            "lone surrogates are no text and cannot be passed on", status=422, code="invalid_text"
        ) from None
