"""Agents that speak in messages: `POST /a2a/message`."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.a2a.desk import Desk
from broker.a2a.envelope import Message, read_message
from broker.bodies import small_body
from broker.routes.schemas import ErrorBody

router = APIRouter(tags=["agents"])

MAX_MESSAGE_BYTES = 256 * 1024
"""Larger content comes by address, or by `POST /store`."""
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": Message.model_json_schema(),
                "example": {
                    "type": "task_request",
                    "agent_id": "my-agent",
                    "payload": {"taskType": "run", "code": "print('Hello')", "language": "python"},
                },
            }
        },
    }
}


@router.post(
    "/a2a/message",
    openapi_extra=OPENAPI,
    responses={
        400: {"model": ErrorBody, "description": "No envelope, an unknown type, or a malformed task"},
        404: {"model": ErrorBody, "description": "No such task, or its time is over"},
        409: {"model": ErrorBody, "description": "Paid for already, or the authorization was used elsewhere"},
    },
)
async def message(request: Request) -> Response:
    """A `task_request` is answered with `payment_required`, a `payment_submitted` with the paid result.

    The payment stands in the message: payment headers are not read here, and without one nothing is done.
    """
    desk: Desk = request.app.state.a2a
    body = await small_body(request, MAX_MESSAGE_BYTES)
    return await desk.answer(read_message(body), request.scope)
