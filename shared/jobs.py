"""The work itself, as it travels between client, broker and executor: requests in, results out.

JSON is camelCase; snake_case is accepted too. `api.md` (Broker, Executor) fixes the shapes.
"""

import base64
import binascii
import json
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from shared.requirements import MAX_DEPENDENCIES, normalise

Language = Literal["python", "javascript", "bash", "typescript"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LANGUAGE_ALIASES: dict[str, Language] = {
    "py": "python",
    "python3": "python",
    "js": "javascript",
    "node": "javascript",
    "nodejs": "javascript",
    "sh": "bash",
    "shell": "bash",
    "ts": "typescript",
}
CODE_NAMES: dict[Language, str] = {
    "python": "main.py",
    "javascript": "main.js",
    "bash": "main.sh",
    "typescript": "main.ts",
}
"""What the code is called in the run's working folder."""
OUTPUT_FOLDER = "out"
"""Where a run leaves the files it wants returned, in its working folder."""
Size = Literal["small", "medium", "large"]
MEMORY_MB: dict[Size, int] = {"small": 256, "medium": 512, "large": 1024}
"""What a run of each size may use; `medium` is what every run gets that names none (sandbox.md)."""
DEFAULT_SIZE: Size = "medium"

MAX_TIMEOUT_S = 60.0
DEFAULT_TIMEOUT_S = 60.0
MAX_ARGS = 64
MAX_FILES = 64
MAX_ENV = 64
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FILE_NAME = re.compile(r"[A-Za-z0-9._-][A-Za-z0-9._ -]{0,127}")

MAX_UPSTREAM_BYTES = 32 * 1024

JobStatus = Literal[
    "awaiting_payment",
    "payment_required",
    "queued",
    "running",
    "completed",
    "failed",
    "cancelled",
    "unpaid",
    "instructions_provided",
]


class Wire(BaseModel):
    """camelCase outside, snake_case inside; both are read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


def _bounded(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is too long to be kept with every result, or no JSON, is left out."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return None
    return value if len(text) <= MAX_UPSTREAM_BYTES else None


Upstream = Annotated[
    dict[str, Any] | None, AfterValidator(_bounded), Field(exclude_if=lambda value: value is None)
]
"""What somebody else was paid for the work, and says of it; not there where nobody was asked.

`paidUsd`, `transaction`, `network` and `payTo` are null where nothing was paid.
"""


def _known_size(value: Any) -> Any:
    name = str(value).strip().lower()
    if name not in MEMORY_MB:
        raise ValueError(f"unknown size; known are {', '.join(MEMORY_MB)}")
    return name


RunSize = Annotated[Size, BeforeValidator(_known_size)]
"""A size as it is read from a request."""


class InputFile(Wire):
    """A file put into the run's working folder. `content` is text, or base64 when `encoding` says so."""

    name: str
    content: str = ""
    encoding: Literal["utf-8", "base64"] = "utf-8"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _FILE_NAME.fullmatch(value) or value in {".", ".."}:
            raise ValueError("a file name is letters, digits, '.', '_', '-' and spaces, without folders")
        return value

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        self.data()
        return self

    def data(self) -> bytes:
        if self.encoding == "utf-8":
            return self.content.encode()
        try:
            return base64.b64decode(self.content, validate=True)
        except binascii.Error:
            raise ValueError("content is not base64") from None


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL byte is not allowed")
    return value


def _memory_by_size() -> str:
    return "Memory of the run: " + ", ".join(f"{name} {memory} MB" for name, memory in MEMORY_MB.items())


class RunRequest(Wire):
    """A snippet to run. `timeout` is seconds of wall clock, `max_cost_usd` a limit on the price.

    `size` is the memory it may use (`MEMORY_MB`); size and time limit make the price.
    """

    code: str = Field(min_length=1)
    language: Language = "python"
    size: RunSize = Field(DEFAULT_SIZE, description=_memory_by_size())
    stdin: str = ""
    args: list[str] = Field(default_factory=list, max_length=MAX_ARGS)
    files: list[InputFile] = Field(default_factory=list, max_length=MAX_FILES)
    env: dict[str, str] = Field(default_factory=dict, max_length=MAX_ENV)
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)] = Field(
        DEFAULT_TIMEOUT_S,
        validation_alias=AliasChoices("timeout", "timeoutS", "timeout_s"),
        serialization_alias="timeout",
    )
    encoding: Literal["utf-8", "base64"] = "utf-8"
    dependencies: list[str] = Field(default_factory=list, max_length=MAX_DEPENDENCIES)
    provider: str | None = Field(None, max_length=64)
    max_cost_usd: Decimal | None = Field(None, gt=0, allow_inf_nan=False, max_digits=18)

    @field_validator("language", mode="before")
    @classmethod
    def _known_language(cls, value: Any) -> Any:
        name = str(value).strip().lower()
        name = LANGUAGE_ALIASES.get(name, name)
        if name not in LANGUAGES:
            raise ValueError(f"unknown language; known are {', '.join(LANGUAGES)}")
        return name

    @field_validator("code", "stdin")
    @classmethod
    def _text(cls, value: str, info: Any) -> str:
        return _no_nul(value) if info.field_name == "code" else value

    @field_validator("args")
    @classmethod
    def _plain_args(cls, value: list[str]) -> list[str]:
        return [_no_nul(arg) for arg in value]

    @field_validator("env")
    @classmethod
    def _plain_env(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _ENV_NAME.fullmatch(name):
                raise ValueError("an environment name is letters, digits and '_'")
            _no_nul(text)
        return value

    @field_validator("dependencies")
    @classmethod
    def _plain_dependencies(cls, value: list[str]) -> list[str]:
        return normalise(value)

    @model_validator(mode="after")
    def _unique_files(self) -> Self:
        if len({file.name for file in self.files}) != len(self.files):
            raise ValueError("two files have the same name")
        return self


class OutputFile(Wire):
    """A file that the run left in `/box/out`."""

    name: str
    content: str
    encoding: Literal["utf-8", "base64"]
    size_bytes: int


class Truncated(Wire):
    """What did not fit: output beyond its limit, output files beyond theirs."""

    stdout: bool = False
    stderr: bool = False
    files: bool = False


class RunResult(Wire):
    """What a run did (sandbox.md). Times in ms; `exit_code` is null when a signal ended it."""

    stdout: str
    stderr: str
    exit_code: int | None
    signal: str | None = None
    timed_out: bool = False
    oom_killed: bool = False
    truncated: Truncated = Field(default_factory=Truncated)
    execution_time: int
    cpu_time_ms: int | None = None
    peak_memory_bytes: int | None = None
    isolation: str
    language: Language
    version: str
    dependencies: list[str] | None = None
    """What the asked packages were resolved to, as `name==version`; null where none were asked for."""
    encoding: Literal["utf-8", "base64"] = "utf-8"
    files: list[OutputFile] = Field(default_factory=list)
    upstream: Upstream = None
