"""The gate of a host that charges nothing (`X402_ENABLED=false`)."""

import json
import math

from starlette.responses import Response

from broker.addresses import public_address
from broker.caches.tokens import Tokens
from broker.clients import ExecutorClient
from broker.operations import OPERATIONS, Shown, told
from broker.payments.instructions import instructed, is_instructed
from broker.payments.intake import Intake
from broker.payments.ledger import Ledger
from broker.payments.paid_route import Call
from broker.payments.pricing import Pricing
from broker.payments.records import NewJob
from broker.payments.results import Results
from shared.errors import GalaksioError
from shared.logs import set_job_id

NO_STORE = {"Cache-Control": "no-store"}


class FreeGate:
    """`X402_ENABLED=false`: every call is worked on and nothing is charged."""

    def __init__(
        self,
        *,
        pricing: Pricing,
        ledger: Ledger,
        executor: ExecutorClient,
        results: Results,
        intake: Intake,
        tokens: Tokens,
        public_base_url: str | None,
    ) -> None:
        self._pricing = pricing
        self._ledger = ledger
        self._executor = executor
        self._results = results
        self._intake = intake
        self._tokens = tokens
        self._public_base_url = public_base_url

    async def answer(self, call: Call) -> Response:
        async with self._intake.take(call) as taken:
            work, operation = taken.work, call.operation
            if operation.check is not None:
                await operation.check(call.scope["app"].state, work)
            offer = await self._pricing.offer(operation, work, call.offer_hash(work))
            task = {} if is_instructed(offer.quote) else await taken.task(offer)
            limit_ms = math.ceil(work.time_limit_s * 1000)
            new = NewJob(operation.name, call.hash(work), offer, "anonymous", task, limit_ms, call.label)
            job_id = await self._ledger.open_unpaid(new)
            set_job_id(job_id)
            try:
                body = await self._done(job_id, new, work.time_limit_s)
            except GalaksioError as error:
                await self._ledger.finish_unpaid(job_id, None, error.code)
                raise
            taken.kept = True
        kept = await self._results.keep(job_id, body)
        await self._ledger.finish_unpaid(job_id, kept, None)
        to = Shown(public_address(call.scope, self._public_base_url), self._tokens)
        answer = told(operation, json.dumps(body).encode(), to)
        return Response(answer, media_type="application/json", headers=NO_STORE)

    async def _done(self, job_id: str, new: NewJob, limit_s: float) -> dict[str, object]:
        """What a payer would get. Nobody else is paid for it."""
        operation, offer = OPERATIONS[new.operation], new.offer
        if is_instructed(offer.quote):
            return instructed(job_id, new.operation, offer.quote, 0)
        result = await self._executor.execute(
            job_id, operation.task_type, offer.provider, new.task, limit_s, max_spend_atomic=0
        )
        return {
            "jobId": job_id,
            "status": "completed",
            "provider": offer.provider,
            "price_usd": "0",
            "result": operation.read_result(result),
        }

    async def drain(self) -> None:
        """Nothing is owed to anybody."""
