"""What the gate answered, said as a message (api.md, Broker)."""

import base64
import json
from typing import Any

from starlette.responses import Response
from x402.http.constants import PAYMENT_REQUIRED_HEADER, PAYMENT_RESPONSE_HEADER, X_PAYMENT_RESPONSE_HEADER

from shared.clock import iso

AGENT_ID = "galaksio-broker"
A2A_VERSION = "0.1"
PAYMENT_REQUIRED = "payment_required"
TASK_COMPLETED = "task_completed"
TASK_PENDING = "task_pending"
TASK_FAILED = "task_failed"
_TYPES = {200: TASK_COMPLETED, 202: TASK_PENDING, 402: PAYMENT_REQUIRED}
_RECEIPTS = (PAYMENT_RESPONSE_HEADER, X_PAYMENT_RESPONSE_HEADER)
_RETRY_AFTER = "Retry-After"


def said(
    outcome: Response, *, job_id: str | None, status_url: str | None = None, expires_at_ms: int | None = None
) -> Response:
    """The gate's `outcome` as a message about the task `job_id`, in its status, but 200 for a 402.

    What failed carries the error's fields beside the message's own, as every error does.
    """
    kind = _TYPES.get(outcome.status_code, TASK_FAILED)
    meta = {
        "jobId": job_id,
        "statusUrl": status_url,
        "expiresAt": None if expires_at_ms is None else iso(expires_at_ms / 1000),
        "paymentRequired": outcome.headers.get(PAYMENT_REQUIRED_HEADER),
        "retryAfterS": int(outcome.headers[_RETRY_AFTER]) if _RETRY_AFTER in outcome.headers else None,
        **_receipt(outcome),
    }
    body = bytes(outcome.body)
    envelope: dict[str, Any] = json.loads(body) if kind == TASK_FAILED else {}
    envelope |= {
        "type": kind,
        "agent_id": AGENT_ID,
        "a2a_version": A2A_VERSION,
        "meta": {name: value for name, value in meta.items() if value is not None},
    }
    # The payload is the body as it stands: results may be large, and are not read again here.
    head = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(
        head[:-1] + b',"payload":' + body + b"}",
        200 if kind == PAYMENT_REQUIRED else outcome.status_code,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **_retry_after(outcome)},
    )


def _receipt(outcome: Response) -> dict[str, Any]:
    for name in _RECEIPTS:
        if name in outcome.headers:
            value = outcome.headers[name]
            return {"receipt": json.loads(base64.b64decode(value)), "paymentResponse": value}
    return {}


def _retry_after(outcome: Response) -> dict[str, str]:
    return {_RETRY_AFTER: outcome.headers[_RETRY_AFTER]} if _RETRY_AFTER in outcome.headers else {}
