"""The envelope of messages between agents: `{type, agent_id?, a2a_version?, payload, meta?}` (api.md)."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.operations.base import read_json
from shared.errors import BadRequest, describe_validation

TASK_REQUEST = "task_request"
PAYMENT_SUBMITTED = "payment_submitted"
TYPES = (TASK_REQUEST, PAYMENT_SUBMITTED)
PAYMENT_NAMES = ("payment", "xPayment", "paymentSignature", "x402.payment.payload")
LABEL_CHARACTERS = 128


class Message(BaseModel):
    """What an agent says. `agent_id` is its own word, kept as a label and never believed."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(min_length=1, description=" or ".join(TYPES))
    agent_id: str | None = Field(None, max_length=1024)
    a2a_version: str | None = Field(None, max_length=64)
    payload: dict[str, Any] | None = Field(None, description="The task, for a task_request")
    meta: dict[str, Any] | None = Field(None, description="jobId and payment, for a payment_submitted")

    @property
    def label(self) -> str | None:
        """`agent_id` as it can stand in a header: plain ASCII."""
        named = (self.agent_id or "").strip()[:LABEL_CHARACTERS]
        return "".join(each if " " <= each <= "~" else "?" for each in named) or None

    @property
    def job_id(self) -> str:
        """The task that is meant. Raises `InvalidEnvelope` when none is named."""
        job_id = (self.meta or {}).get("jobId")
        if not isinstance(job_id, str):
            raise InvalidEnvelope("meta.jobId is required: it came with payment_required")
        return job_id

    @property
    def payment(self) -> Any:
        """What stands where a payment may stand. Raises `InvalidEnvelope` unless there is exactly one."""
        meta = self.meta or {}
        given = [meta[name] for name in PAYMENT_NAMES if meta.get(name) is not None]
        if len(given) != 1:
            raise InvalidEnvelope(f"meta must have exactly one payment, in one of {', '.join(PAYMENT_NAMES)}")
        return given[0]


class InvalidEnvelope(BadRequest):
    """A message that is not one; the stable word for it also stands in `error`."""

    code = "invalid-a2a-envelope"

    def __init__(self, message: str) -> None:
        super().__init__(message, extra={"error": self.code})


class UnsupportedType(BadRequest):
    """A message of a type that is not taken here."""

    code = "unsupported-a2a-type"

    def __init__(self) -> None:
        super().__init__(f"type must be {' or '.join(TYPES)}", extra={"error": self.code})


def read_message(body: bytes) -> Message:
    """Raises `InvalidEnvelope`, or `UnsupportedType` for a good one that says something else."""
    try:
        message = Message.model_validate(read_json(body))
    except BadRequest as exc:
        raise InvalidEnvelope(exc.message) from None
    except ValidationError as exc:
        raise InvalidEnvelope(describe_validation(exc.errors())) from None
    if message.type not in TYPES:
        raise UnsupportedType
    if message.type == TASK_REQUEST and message.payload is None:
        raise InvalidEnvelope("payload is required: the task, as {taskType, …} with its fields")
    return message
