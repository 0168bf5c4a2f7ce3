"""Where a job stands: `GET /status/{id}` and its other names."""

from fastapi import APIRouter, Request

from broker.payments.ledger import JobRow, Ledger, PaymentRow
from broker.routes.schemas import ErrorBody, JobView, PaymentView
from shared.clock import iso
from shared.errors import GalaksioError
from shared.money import atomic_to_usd

router = APIRouter(tags=["jobs"])


@router.get("/status/{job_id}", responses={404: {"model": ErrorBody}})
@router.get("/job/{job_id}", include_in_schema=False)
@router.get("/jobs/{job_id}", include_in_schema=False)
async def status(job_id: str, request: Request) -> JobView:
    """Whoever knows a job's id may see it; ids cannot be guessed. A result that is not paid is withheld."""
    ledger: Ledger = request.app.state.ledger
    job = await ledger.job(job_id)
    if job is None:
        raise GalaksioError(
            "there is no job with this id", status=404, code="not-found", extra={"error": "not-found"}
        )
    return _view(job, await ledger.payment_of_job(job_id), request.app.state.settings.x402_network)


def _view(job: JobRow, payment: PaymentRow | None, network: str) -> JobView:
    shown = job.response if job.status == "completed" and job.response else {}
    return JobView(
        id=job.id,
        requester=job.requester,
        provider=job.provider,
        status=job.status,
        quote=job.quote,
        result=shown.get("result"),
        error=job.error,
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
