"""Who sent a request: a payer by session, the operator by token, or nobody."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from broker.accounts.errors import Unauthorized
from broker.accounts.sign_in import SignIn

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="A session of `/auth/verify`, or the OPERATOR_TOKEN.")),
]


@dataclass(frozen=True)
class Visitor:
    """`payer` is the address of the session (lower case), None for the operator, who may see everything."""

    payer: str | None


class Visitors:
    """Recognises who holds a bearer token."""

    def __init__(self, sign_in: SignIn, operator_token: str | None) -> None:
        self._sign_in = sign_in
        self._operator = None if operator_token is None else _digest(operator_token)

    async def recognise(self, token: str) -> Visitor:
        """Who holds `token`. Raises `Unauthorized` when nobody does."""
        # Digests of equal length, so that the time taken tells nothing about the token.
        if self._operator is not None and hmac.compare_digest(_digest(token), self._operator):
            return Visitor(payer=None)
        payer = await self._sign_in.address_of(token)
        if payer is None:
            raise Unauthorized("this token is unknown or has expired: sign in again")
        return Visitor(payer)


async def signed_in(request: Request, bearer: Bearer) -> Visitor:
    """The visitor behind a request. Raises `Unauthorized` for a request without a good bearer token."""
    if bearer is None or not bearer.credentials:
        raise Unauthorized
    visitors: Visitors = request.app.state.accounts.visitors
    return await visitors.recognise(bearer.credentials)


SignedIn = Annotated[Visitor, Depends(signed_in)]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
