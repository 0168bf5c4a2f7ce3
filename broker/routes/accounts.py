"""Sign-in with a wallet, and a payer's payments."""

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from broker.accounts.accounts import Accounts
from broker.accounts.errors import Unauthorized
from broker.accounts.schemas import (
    NonceAsk,
    NonceIssued,
    PaymentPage,
    PaymentStatement,
    SessionOpened,
    VerifyAsk,
)
from broker.accounts.visitor import Bearer, SignedIn
from broker.addresses import public_address
from broker.payments.records import State
from shared.clock import iso
from shared.errors import GalaksioError
from shared.openapi import Responses, refusals

router = APIRouter()
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
KEPT: Responses = refusals({503: "The database does not answer now"})
UNAUTHORIZED: Responses = {**KEPT, **refusals({401: "No bearer token, or one that opens nothing"})}


@router.post("/auth/nonce", tags=["sign-in"], responses=KEPT)
async def nonce(ask: NonceAsk, request: Request, response: Response) -> NonceIssued:
    """Begin to sign in: the EIP-4361 text that the wallet of `address` must sign, good for five minutes."""
    response.headers["Cache-Control"] = "no-store"
    issued = await _accounts(request).sign_in.issue(ask.address, _address(request))
    return NonceIssued(message=issued.message, nonce=issued.nonce, expiresAt=iso(issued.expires_at_ms / 1000))


@router.post(
    "/auth/verify",
    tags=["sign-in"],
    responses={**UNAUTHORIZED, **refusals({400: "Neither the message that was signed nor its nonce"})},
)
async def verify(ask: VerifyAsk, request: Request, response: Response) -> SessionOpened:
    """Trade the signed text for a bearer token of one hour. Any attempt uses the nonce up."""
    response.headers["Cache-Control"] = "no-store"
    session = await _accounts(request).sign_in.verify(ask.signature, nonce=ask.nonce, message=ask.message)
    return SessionOpened(
        token=session.token, address=session.address, expiresAt=iso(session.expires_at_ms / 1000)
    )


@router.post("/auth/logout", tags=["sign-in"], status_code=204, responses=UNAUTHORIZED)
async def logout(request: Request, bearer: Bearer) -> None:
    """End the session of the bearer token; one that has already ended is fine too."""
    if bearer is None:
        raise Unauthorized
    await _accounts(request).sign_in.close(bearer.credentials)


@router.get(
    "/payments",
    tags=["payments"],
    responses={**UNAUTHORIZED, **refusals({400: "The cursor is none that a page told"})},
)
async def payments(
    request: Request,
    response: Response,
    visitor: SignedIn,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    state: State | None = None,
) -> PaymentPage:
    """The payer's own payments, newest first, settled ones with receipts; the operator sees everybody's."""
    response.headers["Cache-Control"] = "no-store"
    return await _accounts(request).history.page(
        visitor.payer, limit=limit, cursor=cursor, state=state, broker=_address(request)
    )


@router.get(
    "/payments/{payment_id}",
    tags=["payments"],
    responses={**UNAUTHORIZED, **refusals({404: "The visitor has no such payment"})},
)
async def payment(
    payment_id: str, request: Request, response: Response, visitor: SignedIn
) -> PaymentStatement:
    """One payment. Another payer's is a 404, like one that does not exist."""
    response.headers["Cache-Control"] = "no-store"
    found = None
    if UUID.fullmatch(payment_id):
        found = await _accounts(request).history.one(visitor.payer, payment_id, _address(request))
    if found is None:
        raise GalaksioError("you have no payment with this id", status=404, code="not_found")
    return found


def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


def _address(request: Request) -> str:
    return public_address(request.scope, request.app.state.settings.public_base_url)
