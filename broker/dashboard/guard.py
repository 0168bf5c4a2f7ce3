"""The page's data are the operator's alone."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from broker.accounts.errors import Unauthorized
from broker.accounts.visitor import Bearer, Visitors
from broker.settings import BrokerSettings
from shared.errors import GalaksioError


class NoOperator(GalaksioError):
    """This broker has no operator: nobody can be let in."""

    status = 503
    code = "operator_token_missing"

    def __init__(self) -> None:
        super().__init__("set OPERATOR_TOKEN (16 characters or more) and start the broker again to use this")


class NotTheOperator(GalaksioError):
    status = 403
    code = "operator_only"

    def __init__(self) -> None:
        super().__init__("this is for the operator: a payer's session does not open it")


async def admit(connection: HTTPConnection, token: str | None) -> None:
    """Raises `NoOperator`, `Unauthorized` or `NotTheOperator` unless `token` is the operator's."""
    settings: BrokerSettings = connection.app.state.settings
    visitors: Visitors = connection.app.state.accounts.visitors
    if settings.operator is None:
        raise NoOperator
    if not token:
        raise Unauthorized("send the OPERATOR_TOKEN as a bearer token")
    try:
        visitor = await visitors.recognise(token)
    except Unauthorized:
        raise Unauthorized("this is not the OPERATOR_TOKEN of this broker") from None
    if visitor.payer is not None:
        raise NotTheOperator


async def _operator(request: Request, bearer: Bearer) -> None:
    await admit(request, bearer.credentials if bearer else None)


OperatorOnly = Annotated[None, Depends(_operator)]
