"""Agents that speak in messages: `POST /a2a/message`."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from broker.a2a.desk import Desk
from broker.a2a.envelope import Message, read_message
from broker.bodies import small_body
from broker.routes.schemas import PENDING, REFUND_OWED, RESULT_EXPIRED
from shared.openapi import RETRY_AFTER, ErrorBody, json_request, refusals

router = APIRouter(tags=["agents"])

MAX_MESSAGE_BYTES = 256 * 1024
"""Larger content comes by address, or by `POST /store`."""
EXAMPLE = {
    "type": "task_request",
    "agent_id": "my-agent",
    "payload": {"taskType": "run", "code": "print('Hello')", "language": "python"},
}


class Said(BaseModel):
    """What the broker says. `payload` is the 402, the result, or the error; that of an error is above too."""

    model_config = ConfigDict(extra="allow")

    type: Literal["payment_required", "task_completed", "task_pending", "task_failed"]
    agent_id: str
    a2a_version: str
    meta: dict[str, Any]
    payload: dict[str, Any]


@router.post(
    "/a2a/message",
    openapi_extra=json_request(Message, EXAMPLE),
    response_model=Said,
    responses={
        202: {**PENDING, "model": Said, "headers": RETRY_AFTER},
        **refusals(
            {
                400: "No envelope, an unknown type, or a malformed task",
                404: "No such task, or its time is over",
                413: "The message is over 256 KB",
                422: "The task cannot be done: a NUL byte in the code, no text, an address that has nothing",
                431: "The payment is over 16 KB",
                500: "The result that was paid for cannot be found",
                503: "Facilitator, quote or executor down, or the executor full; nothing was charged",
                507: "There is no room for the content here now",
            }
        ),
        409: {
            "model": ErrorBody,
            "description": "Paid for already or right now, or the authorization was used elsewhere",
            "headers": RETRY_AFTER,
        },
        # Receipts stand in the message.
        410: {**RESULT_EXPIRED, "headers": {}},
        502: {**REFUND_OWED, "headers": {}},
    },
)
async def message(request: Request) -> Response:
    """A `task_request` is answered with `payment_required`, a `payment_submitted` with the paid result.

    The payment stands in the message: payment headers are not read here, and without one nothing is done.
    """
    desk: Desk = request.app.state.a2a
    body = await small_body(request, MAX_MESSAGE_BYTES)
    return await desk.answer(read_message(body), request.scope)
