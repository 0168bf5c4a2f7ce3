"""What can be asked a price for. camelCase and snake_case are both read (api.md, Quote)."""

from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator

from shared.caches.limits import OPERATIONS_INCLUDED
from shared.errors import BadRequest, describe_validation
from shared.jobs import (
    DEFAULT_SIZE,
    DEFAULT_TIMEOUT_S,
    LANGUAGE_ALIASES,
    LANGUAGES,
    MAX_TIMEOUT_S,
    MEMORY_MB,
    RunSize,
    Wire,
)
from shared.quotes import OPERATIONS, Kind
from shared.requirements import MAX_DEPENDENCIES

MAX_SIZE_BYTES = 1 << 40
MAX_OPERATIONS = 10**9


def _either(name: str, camel: str, *more: str) -> AliasChoices:
    return AliasChoices(camel, name, *more)


def is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().removeprefix("-").isdecimal()
    return isinstance(value, int | float) and not isinstance(value, bool)


class Ask(Wire):
    """Common to all: `provider` restricts the answer to one provider, `max_cost_usd` what is chosen."""

    provider: str | None = None
    max_cost_usd: Decimal | None = Field(
        None, ge=0, le=1_000_000, validation_alias=_either("max_cost_usd", "maxCostUsd")
    )


class RunAsk(Ask):
    """Compute: `code_size_bytes` of code in `language`, run for at most `timeout_s` seconds.

    `size` is the run's size by name; a number there is the bytes of code, as seed 000 asks it.
    `dependencies` is how many packages it wants beside the standard library, `inputs` whether
    it brings arguments, files, standard input or an environment along.
    """

    code_size_bytes: int = Field(
        1024, ge=0, le=MAX_SIZE_BYTES, validation_alias=_either("code_size", "codeSize")
    )
    language: str = "python"
    size: RunSize = DEFAULT_SIZE
    dependencies: int = Field(0, ge=0, le=MAX_DEPENDENCIES)
    inputs: bool = False
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)] = Field(
        DEFAULT_TIMEOUT_S, validation_alias=_either("timeout_s", "timeoutS", "timeout")
    )

    @property
    def memory_mb(self) -> int:
        return MEMORY_MB[self.size]

    @model_validator(mode="before")
    @classmethod
    def _number_for_size(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or not is_number(fields.get("size")):
            return fields
        others = {name: value for name, value in fields.items() if name != "size"}
        return {"codeSize": fields["size"], **others}

    @field_validator("dependencies", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        return len(value) if isinstance(value, list) else value

    @field_validator("language")
    @classmethod
    def _canonical(cls, value: str) -> str:
        name = value.strip().lower()
        name = LANGUAGE_ALIASES.get(name, name)
        if name not in LANGUAGES:
            raise ValueError(f"unknown language; known are {', '.join(LANGUAGES)}")
        return name


class StoreAsk(Ask):
    """Storage: `file_size_bytes`, kept for `ttl_s` seconds or, when `permanent`, for good."""

    file_size_bytes: int = Field(
        1024, ge=0, le=MAX_SIZE_BYTES, validation_alias=_either("file_size", "fileSize", "size")
    )
    permanent: bool = False
    ttl_s: int = Field(3600, ge=1, le=10 * 365 * 86400, validation_alias=_either("ttl_s", "ttl"))
    file_name: str | None = Field(None, max_length=255)


class CacheAsk(Ask):
    """Cache: `operations` of one cache in `region`.

    What other price models ask for (`size_mb`, `ttl_hours`, `operation`) does not change what it costs here.
    """

    region: str = Field("us-east-1", max_length=64)
    operations: int = Field(OPERATIONS_INCLUDED, ge=1, le=MAX_OPERATIONS)


HYBRID = "hybrid"
"""Compute and storage together."""
_SHOWN_BY: dict[Kind, frozenset[str]] = {
    "compute": frozenset({"code", "codeSize", "code_size", "language", "dependencies", "inputs"})
    | {"timeout", "timeoutS", "timeout_s"},
    "storage": frozenset({"fileSize", "file_size", "fileName", "file_name", "permanent"}),
    "cache": frozenset({"region", "operations", "sizeMb", "size_mb", "ttlHours", "ttl_hours"}),
}
"""Fields that only an ask of that kind has. `size` and `ttl` are read by several."""
_WHAT_TO_SEND = (
    "nobody knows what to price: send operation (compute, storage, cache or hybrid), or the fields of one: "
    "codeSize and language, fileSize and permanent, or region"
)

AskT = TypeVar("AskT", bound=Ask)
ASKS: dict[Kind, type[Ask]] = {"compute": RunAsk, "storage": StoreAsk, "cache": CacheAsk}


def kinds_asked(fields: dict[str, Any]) -> list[Kind]:
    """What a price is wanted for: by `operation`, or else by the fields themselves; two kinds are a hybrid.

    Raises `BadRequest` that says what to send.
    """
    operation = fields.get("operation")
    if operation is not None:
        if str(operation).strip().lower() == HYBRID:
            return ["compute", "storage"]
        return [_kind_of(operation)]
    shown: list[Kind] = [kind for kind, names in _SHOWN_BY.items() if not names.isdisjoint(fields)]
    if not shown and isinstance(size := fields.get("size"), str) and not is_number(size):
        shown = ["compute"]
    if not shown and not {"ttl", "ttl_s"}.isdisjoint(fields):
        shown = ["storage"]
    if not shown or ("cache" in shown and len(shown) > 1):
        raise BadRequest(_WHAT_TO_SEND, code="unknown_operation")
    return shown


def parse_ask(operation: Any, fields: dict[str, Any]) -> tuple[Kind, Ask]:
    """Read the fields of one operation. Raises `BadRequest` that says what is wrong."""
    kind = _kind_of(operation)
    return kind, parse(ASKS[kind], fields)


def parse(ask: type[AskT], fields: dict[str, Any]) -> AskT:
    """Read the fields of one kind of ask. Raises `BadRequest` that says what is wrong."""
    try:
        return ask.model_validate(fields)
    except ValidationError as exc:
        raise BadRequest(describe_validation(exc.errors()), code="invalid_request") from None


def _kind_of(operation: Any) -> Kind:
    kind = OPERATIONS.get(str(operation).strip().lower())
    if kind is None:
        raise BadRequest(f"unknown operation; known are {', '.join(OPERATIONS)}", code="unknown_operation")
    return kind
