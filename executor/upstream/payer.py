"""`Upstream` with a key of its own: asks, pays the 402, asks again; money is written down before it moves."""

import asyncio

import httpx
from sqlalchemy.exc import SQLAlchemyError

from executor.upstream.base import Answer, Means, Order, Spending
from executor.upstream.choosing import check_place, choose, host_of, understand
from executor.upstream.concluding import answered, draft_of, failed
from executor.upstream.errors import (
    UpstreamError,
    UpstreamLost,
    UpstreamOff,
    UpstreamOverBudget,
    UpstreamRefused,
)
from executor.upstream.journal import Journal, Payment
from executor.upstream.payment_auth import PaymentAuth
from executor.upstream.purse import Purse
from executor.upstream.sending import Sending
from executor.upstream.wallet import Wallet
from executor.upstream.wire import Wire
from shared.clock import Clock
from shared.logs import get_logger
from shared.money import atomic_to_usd
from shared.networks import Network

log = get_logger(__name__)


class Payer:
    """Pays on one network, in its dollar token, from one wallet."""

    def __init__(
        self, wallet: Wallet, network: Network, journal: Journal, purse: Purse, clock: Clock
    ) -> None:
        self._wallet = wallet
        self._network = network
        self._journal = journal
        self._purse = purse
        self._clock = clock
        self._wire = Wire()

    async def open(self) -> None:
        await self._purse.open()
        log.info("upstream_wallet", address=self._wallet.address, network=self._network.name)

    async def close(self) -> None:
        await self._wire.close()
        await self._purse.close()

    def means(self) -> Means:
        return Means(
            reason=None,
            networks=[self._network.caip2],
            spendable_atomic=self._purse.spendable_atomic,
            sends_files=True,
            chain_answers=self._purse.chain_answers,
            payer=self._wallet.address,
        )

    def spent(self) -> dict[str, int]:
        return dict(self._purse.spent_on)

    async def send(self, order: Order, spending: Spending) -> Answer:
        """As `Upstream.send`. A step that was paid before is sent with that payment, and not paid again."""
        try:
            payment = await self._paid_before(order, spending)
            auth = PaymentAuth(lambda response: self._pay(order, spending, response), payment)
            response = await self._send(order, spending, auth)
        except SQLAlchemyError as exc:
            log.error("upstream_journal_unavailable", job_id=spending.job_id, error=type(exc).__name__)
            raise UpstreamOff("The journal of payments does not answer, so nothing is paid.") from None
        return await answered(self._journal, spending, response, auth.payment)

    async def _send(self, order: Order, spending: Spending, auth: PaymentAuth) -> httpx.Response:
        sending = Sending(self._wire, order, auth)
        try:
            async with asyncio.timeout(order.timeout_s):
                return await sending.run()
        except TimeoutError:
            error: UpstreamError = UpstreamLost(
                f"{spending.provider} did not answer within {order.timeout_s:g} s."
            )
        except UpstreamError as exc:
            error = exc
        if auth.payment is not None:
            await failed(self._journal, auth.payment, error, left=sending.payment_left)
        raise error

    async def _paid_before(self, order: Order, spending: Spending) -> Payment | None:
        payment = await self._journal.take(spending, order.step)
        if payment is None:
            return None
        check_place(spending.provider, order.url, self._network)
        if payment.payload is None or payment.url_host != host_of(order.url):
            raise UpstreamLost(
                f"{spending.provider} was paid for this in another way; what it did is not known."
            )
        return payment

    async def _pay(self, order: Order, spending: Spending, response: httpx.Response) -> Payment:
        """Reserve and sign what a 402 asks for. When it raises, nothing was signed."""
        name = spending.provider
        check_place(name, order.url, self._network)
        challenge = understand(name, response.status_code, dict(response.headers), response.content)
        wanted = choose(name, challenge, self._network, self._wallet.address)
        spending.before_paying()
        usd = atomic_to_usd(wanted.price_atomic)
        if not await self._purse.holds(wanted.price_atomic):
            raise UpstreamOverBudget(f"{name} asks for ${usd}, and the executor's wallet holds less.")
        payment = await self._journal.reserve(
            draft_of(order, wanted, self._wallet.address),
            spending,
            lambda: self._wallet.sign(wanted, challenge, self._clock()),
        )
        if payment.payload is None:
            raise UpstreamRefused(f"{name} is being paid for this in another way.")
        self._purse.spent(name, payment.amount_atomic)
        log.info("upstream_payment", job_id=spending.job_id, host=payment.url_host, amount_usd=usd)
        return payment
