"""What is sold: how a paid route reads its request, what it asks a price for, what is done and shown."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from starlette.datastructures import State

from broker.caches.tokens import Tokens
from broker.uploads import Upload
from shared.errors import BadRequest

Params = Mapping[str, str]
"""What the path of a route says, by name."""
Mode = Literal["execute", "instructions"]
"""Whether the work is done here, or the customer is told how to buy it from the provider (api.md)."""


@dataclass(frozen=True)
class Work:
    """A request that was read and found good.

    `meaning` is what the request hash is taken over, `priced` what the offer's key is, where that is less;
    `ask` are the fields for the quote service, to which the size of what is at `url` is added when a price is
    named; `task` is what the executor is told; `content` is handed to it before the job; `time_limit_s`
    bounds the work. `mode` is None where the customer leaves it to the host.
    """

    meaning: dict[str, Any]
    ask: dict[str, Any]
    task: dict[str, Any]
    time_limit_s: float
    provider: str | None = None
    max_cost_usd: Decimal | None = None
    priced: dict[str, Any] | None = None
    content: bytes | None = None
    url: str | None = None
    mode: Mode | None = None
    transfer_s: float = 0
    """How long its body may take to come, after the payment was signed."""


@dataclass(frozen=True)
class Shown:
    """What a result is completed with when it is told: this broker's address; to the payer, its tokens."""

    base_url: str
    tokens: Tokens | None = None


@dataclass(frozen=True)
class Operation:
    """One thing that is sold. `starting_ask` and `example` answer a crawler that sends an empty body.

    `task_type` is the executor's word for it; `priced_by` names the optional fields that change the price;
    `menu` are asks whose prices are shown; `empty_body` is a request of its own. What `leaves` something
    behind is taken back when its payment is refused. `uploaded` reads a multipart body, where one is taken;
    `check` refuses what could not be done; `shown` completes a result.
    """

    name: str
    quote_path: str
    description: str
    parse: Callable[[bytes, Params], Work]
    starting_ask: dict[str, Any]
    example: dict[str, Any]
    input_schema: dict[str, Any]
    read_result: Callable[[Any], dict[str, object]]
    task_type: str
    priced_by: tuple[str, ...] = ()
    menu: tuple[dict[str, Any], ...] = ()
    empty_body: bool = False
    leaves: bool = False
    uploaded: Callable[[Upload], Work] | None = None
    check: Callable[[State, Work], Awaitable[None]] | None = None
    shown: Callable[[dict[str, Any], Shown], dict[str, Any]] | None = None

    @property
    def discovery_schema(self) -> dict[str, Any]:
        """The input schema cut to what is required or sets the price: it travels in a header."""
        required = self.input_schema.get("required", [])
        known = self.input_schema["properties"]
        properties = {
            name: {word: known[name][word] for word in ("type", "enum") if word in known[name]}
            for name in (*required, *self.priced_by)
        }
        return {"properties": properties, "required": required}


def told(operation: Operation, kept: bytes, to: Shown) -> bytes:
    """A kept answer as it is told: with what depends on who asks, and where."""
    if operation.shown is None:
        return kept
    answer = json.loads(kept)
    if "result" not in answer:
        return kept
    answer["result"] = operation.shown(answer["result"], to)
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()


def mode_of(fields: Any) -> tuple[Any, Mode | None]:
    """The fields of a body without `options.fulfilment` (or `fulfilment`), and what it says.

    Raises `BadRequest` for another word.
    """
    if not isinstance(fields, dict):
        return fields, None
    options = fields.get("options")
    said = options.get("fulfilment") if isinstance(options, dict) else None
    said = fields.get("fulfilment") if said is None else said
    rest = {name: value for name, value in fields.items() if name != "fulfilment"}
    if isinstance(options, dict):
        rest["options"] = {name: value for name, value in options.items() if name != "fulfilment"}
    if said is None:
        return rest, None
    for mode in get_args(Mode):
        if said == mode:
            return rest, mode
    raise BadRequest("fulfilment must be execute or instructions", code="invalid_request")


def with_mode(meaning: dict[str, Any], mode: Mode | None) -> dict[str, Any]:
    """What a body means, its mode included where it names one."""
    return meaning if mode is None else {**meaning, "fulfilment": mode}


def read_json(body: bytes) -> Any:
    """The JSON of a body. Raises `BadRequest` for anything that is not JSON."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not valid JSON", code="invalid_json") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
