"""The devnet's HTTP routes (api.md, Devnet). They parse, ask the chain's thread for one thing, and answer."""

import json
import re
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from x402.schemas import SettleResponse, SupportedResponse, VerifyResponse

from devnet import dollar, rpc
from devnet.facilitator import Facilitator
from devnet.rpc_params import INVALID_REQUEST, PARSE_ERROR, RpcError
from devnet.worker import ChainWorker
from shared import __version__
from shared.clock import Clock, iso
from shared.errors import BadRequest
from shared.networks import DEVNET, Network

SERVICE = DEVNET
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE = re.compile(r"0x[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Devnet:
    """What the routes work with."""

    network: Network
    worker: ChainWorker
    facilitator: Facilitator
    clock: Clock


def devnet_router(devnet: Devnet) -> APIRouter:
    router = APIRouter()
    for part in (_health_routes, _facilitator_routes, _token_routes, _rpc_routes):
        router.include_router(part(devnet))
    return router


def _health_routes(devnet: Devnet) -> APIRouter:
    router = APIRouter(tags=["health"])

    def card(status: str) -> dict[str, Any]:
        return {
            "status": status,
            "ok": True,
            "service": SERVICE,
            "version": __version__,
            "timestamp": iso(devnet.clock()),
            "devnet": True,
            "chainId": devnet.network.chain_id,
            "network": devnet.network.name,
            "asset": devnet.network.asset,
            "dependencies": {},
        }

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """Alive. Does not ask the chain."""
        return card("ok")

    @router.get("/health/ready")
    async def ready() -> dict[str, Any]:
        """The chain answers. `blockNumber` is its newest block; 503 when it has too much to do."""
        return {**card("healthy"), "blockNumber": await devnet.worker.run(lambda c: c.head().block_number)}

    return router


def _facilitator_routes(devnet: Devnet) -> APIRouter:
    router = APIRouter(tags=["facilitator"])
    facilitator, worker = devnet.facilitator, devnet.worker

    @router.get("/supported")
    async def supported() -> JSONResponse:
        """The payment kinds: `exact` on v1 `base-sepolia` and v2 `eip155:84532`."""
        return _model(facilitator.supported())

    @router.post("/verify")
    async def verify(request: Request) -> JSONResponse:
        """`{x402Version, paymentPayload, paymentRequirements}` → `{isValid, invalidReason?, payer?}`."""
        payment = facilitator.parse(await _json(request))
        return _model(await worker.run(facilitator.verify, payment))

    @router.post("/settle")
    async def settle(request: Request) -> JSONResponse:
        """As `/verify` → `{success, transaction, network, payer?, errorReason?, extra: {devnet: true}}`."""
        payment = facilitator.parse(await _json(request))
        return _model(await worker.run(facilitator.settle, payment))

    return router


def _token_routes(devnet: Devnet) -> APIRouter:
    router = APIRouter(tags=["token"])
    worker = devnet.worker

    @router.post("/faucet")
    async def faucet(request: Request) -> dict[str, Any]:
        """`{address}` → 100 test dollars, as often as asked. Amounts are atomic units as strings."""
        body = await _json(request)
        address = _address(body.get("address") if isinstance(body, dict) else None)
        mined, balance = await worker.run(dollar.pay_out, address)
        return {
            "address": address,
            "amount": str(dollar.FAUCET_ATOMIC),
            "balance": str(balance),
            "transaction": mined.hash,
            "devnet": True,
        }

    @router.get("/balance/{address}")
    async def balance(address: str) -> dict[str, str]:
        """`{address, balance}`: test dollars in atomic units, as a string."""
        checked = _address(address)
        return {"address": checked, "balance": str(await worker.run(dollar.balance_atomic, checked))}

    @router.get("/authorization/{authorizer}/{nonce}")
    async def authorization(authorizer: str, nonce: str) -> dict[str, bool]:
        """`{used}`: whether the EIP-3009 authorization was settled or canceled."""
        if not _NONCE.fullmatch(nonce):
            raise BadRequest("a nonce is 0x and 64 hex digits", code="invalid_nonce")
        checked = _address(authorizer)
        return {"used": await worker.run(dollar.authorization_used, checked, bytes.fromhex(nonce[2:]))}

    return router


def _rpc_routes(devnet: Devnet) -> APIRouter:
    router = APIRouter(tags=["rpc"])

    @router.post("/rpc")
    async def json_rpc(request: Request) -> Response:
        """JSON-RPC 2.0, single or batch (at most 100)."""
        try:
            body = await _json(request)
        except BadRequest as exc:
            return JSONResponse(RpcError(PARSE_ERROR, exc.message).body(), 400)
        if isinstance(body, dict):
            single = await devnet.worker.run(rpc.answer, body)
            return Response(status_code=204) if single is None else JSONResponse(single)
        if not isinstance(body, list) or not 1 <= len(body) <= rpc.MAX_BATCH:
            text = f"the body is a request or a list of 1 to {rpc.MAX_BATCH} requests"
            return JSONResponse(RpcError(INVALID_REQUEST, text).body(), 400)
        answers = [await devnet.worker.run(rpc.answer, item) for item in body]
        answers = [item for item in answers if item is not None]
        return JSONResponse(answers) if answers else Response(status_code=204)

    return router


def _model(model: SupportedResponse | VerifyResponse | SettleResponse) -> JSONResponse:
    return JSONResponse(model.model_dump(mode="json", by_alias=True, exclude_none=True))


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON", code="invalid_json") from None


def _address(value: Any) -> str:
    """The EIP-55 spelling. A mixed-case address with a wrong checksum is a typing mistake: refused."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise BadRequest("an address is 0x and 40 hex digits", code="invalid_address")
    checked, digits = str(to_checksum_address(value)), value[2:]
    if value != checked and digits not in (digits.lower(), digits.upper()):
        raise BadRequest("the address has a wrong checksum (EIP-55)", code="invalid_address")
    if int(value, 16) == 0:
        raise BadRequest("the zero address owns nothing", code="invalid_address")
    return checked
