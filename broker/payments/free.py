"""The gate of a host that charges nothing (`X402_ENABLED=false`)."""

import math

from starlette.responses import JSONResponse, Response

from broker.clients import ExecutorClient
from broker.payments.ledger import Ledger
from broker.payments.paid_route import Call
from broker.payments.pricing import Pricing
from broker.payments.records import NewJob
from broker.payments.results import Results
from shared.errors import GalaksioError

NO_STORE = {"Cache-Control": "no-store"}


class FreeGate:
    """`X402_ENABLED=false`: every call is worked on and nothing is charged."""

    def __init__(self, pricing: Pricing, ledger: Ledger, executor: ExecutorClient, results: Results) -> None:
        self._pricing = pricing
        self._ledger = ledger
        self._executor = executor
        self._results = results

    async def answer(self, call: Call) -> Response:
        work = call.operation.parse(call.body)
        hash_ = call.hash(work)
        offer = await self._pricing.offer(call.operation, work, hash_)
        limit_ms = math.ceil(work.time_limit_s * 1000)
        new = NewJob(call.operation.name, hash_, offer, "anonymous", work.task, limit_ms, call.label)
        job_id = await self._ledger.open_unpaid(new)
        try:
            result = await self._executor.execute(
                job_id, call.operation.name, offer.provider, work.task, work.time_limit_s
            )
            body = {
                "jobId": job_id,
                "status": "completed",
                "provider": offer.provider,
                "price_usd": "0",
                "result": call.operation.read_result(result),
            }
        except GalaksioError as error:
            await self._ledger.finish_unpaid(job_id, None, error.code)
            raise
        await self._ledger.finish_unpaid(job_id, await self._results.keep(job_id, body), None)
        return JSONResponse(body, headers=NO_STORE)

    async def drain(self) -> None:
        """Nothing is owed to anybody."""
