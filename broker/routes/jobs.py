"""Where a job stands: `GET /status/{id}` and its other names."""

import json
from typing import Any

from fastapi import APIRouter, Request

from broker.a2a.desk import Desk
from broker.a2a.tasks import Task, is_id
from broker.addresses import public_address
from broker.operations import OPERATIONS, Shown
from broker.payments.instructions import is_instructed
from broker.payments.ledger import Ledger
from broker.payments.records import JobRow, PaymentRow
from broker.payments.results import Results
from broker.payments.retention import EXPIRED
from broker.routes.schemas import JobView, PaymentView
from shared.clock import iso
from shared.errors import GalaksioError
from shared.jobs import JobStatus
from shared.money import atomic_to_usd
from shared.openapi import refusals

router = APIRouter(tags=["jobs"])


@router.get(
    "/status/{job_id}",
    responses=refusals({404: "There is no such job", 503: "The database does not answer now"}),
)
@router.get("/job/{job_id}", include_in_schema=False)
@router.get("/jobs/{job_id}", include_in_schema=False)
async def status(job_id: str, request: Request) -> JobView:
    """Whoever knows a job's id may see it; ids cannot be guessed. A result that is not paid is withheld."""
    ledger: Ledger = request.app.state.ledger
    if not is_id(job_id):
        raise _not_found()
    job = await ledger.job(job_id)
    if job is None:
        desk: Desk = request.app.state.a2a
        task = await desk.tasks.find(job_id)
        if task is None:
            raise _not_found()
        if task.job_id is None:
            return _awaiting(task)
        job = await ledger.job(task.job_id)
        if job is None:
            raise _not_found()
    results: Results = request.app.state.results
    shown = await results.read(job) if job.status == "completed" else None
    payment = await ledger.payment_of_job(job.id)
    settings = request.app.state.settings
    result = _result(json.loads(shown)) if shown else None
    complete = None if is_instructed(job.quote) else OPERATIONS[job.operation].shown
    if result is not None and complete is not None:
        result = complete(result, Shown(public_address(request.scope, settings.public_base_url)))
    return _view(job_id, job, result, payment, settings.x402_network)


def _not_found() -> GalaksioError:
    return GalaksioError(
        "there is no job with this id", status=404, code="not-found", extra={"error": "not-found"}
    )


def _awaiting(task: Task) -> JobView:
    """What an agent asked for, and nobody has paid."""
    return JobView(
        id=task.id,
        jobId=None,
        requester=None,
        provider=task.provider,
        status="payment_required",
        quote=task.quote,
        result=None,
        error=None,
        createdAt=iso(task.created_at_ms / 1000),
        updatedAt=iso(task.created_at_ms / 1000),
        payment=None,
    )


def _result(answer: dict[str, Any]) -> Any:
    """What was done, or how to have it done."""
    return answer["result"] if "result" in answer else answer["instructions"]


def _status(job: JobRow) -> JobStatus:
    if job.status == "completed" and is_instructed(job.quote):
        return "instructions_provided"
    return job.status


def _view(asked_for: str, job: JobRow, result: Any, payment: PaymentRow | None, network: str) -> JobView:
    return JobView(
        id=asked_for,
        jobId=job.id,
        requester=job.requester,
        provider=job.provider,
        status=_status(job),
        quote=job.quote,
        result=result,
        error=job.error or (EXPIRED if job.expired_at_ms is not None else None),
        createdAt=iso(job.created_at_ms / 1000),
        updatedAt=iso(job.updated_at_ms / 1000),
        payment=None
        if payment is None
        else PaymentView(
            state=payment.state,
            amount_atomic=str(payment.amount_atomic),
            amount_usd=atomic_to_usd(payment.amount_atomic),
            network=network,
            transaction=payment.transaction_hash,
            reason=payment.reason,
        ),
    )
