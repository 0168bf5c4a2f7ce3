"""The x402 facilitator: strict parsing, then the package's own schemes on the chain's thread."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from x402 import x402FacilitatorSync
from x402.mechanisms.evm.constants import ERR_NETWORK_MISMATCH, ERR_UNSUPPORTED_SCHEME, SCHEME_EXACT
from x402.mechanisms.evm.exact.facilitator import ExactEvmScheme, ExactEvmSchemeConfig
from x402.mechanisms.evm.exact.v1.facilitator import ExactEvmSchemeV1, ExactEvmSchemeV1Config
from x402.schemas import (
    PaymentPayload,
    PaymentPayloadV1,
    PaymentRequirements,
    PaymentRequirementsV1,
    SettleResponse,
    SupportedResponse,
    VerifyResponse,
)

from devnet.chain import DevnetChain
from devnet.signer import ChainSigner
from shared.errors import BadRequest, describe_validation
from shared.networks import DEVNET

DEVNET_MARK = {"devnet": True}
"""In `extra` of every settlement, so that nobody takes its receipt for one of the real base-sepolia."""
_MAX_SIGNATURE_HEX = 16_384


def _uint256(text: str) -> str:
    if int(text) >= 2**256:
        raise ValueError("over 256 bits")
    return text


Uint256 = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,77})$"), AfterValidator(_uint256)]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class _Authorization(BaseModel):
    model_config = ConfigDict(strict=True)

    from_: Address = Field(alias="from")
    to: Address
    value: Uint256
    validAfter: Uint256
    validBefore: Uint256
    nonce: str = Field(pattern=r"^0x[0-9a-fA-F]{64}$")


class _Eip3009Payload(BaseModel):
    model_config = ConfigDict(strict=True)

    signature: str = Field(pattern=r"^0x([0-9a-fA-F]{2})*$", max_length=_MAX_SIGNATURE_HEX)
    authorization: _Authorization


class _Requirements(BaseModel):
    model_config = ConfigDict(strict=True)

    amount: Uint256 = Field(alias="amount")
    payTo: Address
    asset: Address


class _RequirementsV1(_Requirements):
    amount: Uint256 = Field(alias="maxAmountRequired")


@dataclass(frozen=True)
class PaymentRequest:
    """The body of `/verify` and `/settle`, checked for shape. `refusal` is set for a well-formed payment
    that is of no kind listed by `/supported`: the x402 reason code to answer."""

    payload: PaymentPayload | PaymentPayloadV1
    requirements: PaymentRequirements | PaymentRequirementsV1
    refusal: str | None = None

    @property
    def payer(self) -> str | None:
        """The address that the payload names as `from`; clients of x402 0.2 need it in a refusal too."""
        for key in ("authorization", "permit2Authorization"):
            inner = self.payload.payload.get(key)
            address = inner.get("from") if isinstance(inner, dict) else None
            if isinstance(address, str) and _ADDRESS.fullmatch(address):
                return address
        return None


class Facilitator:
    """v1 and v2 of the `exact` scheme on one network. Methods run on the chain's thread."""

    def __init__(self, chain: DevnetChain) -> None:
        signer = ChainSigner(chain)
        self.network = chain.network
        self._package = x402FacilitatorSync()
        # Simulated again when settling: of parallel settlements of one authorization all but the first are
        # refused before they cost a transaction.
        self._package.register(
            [chain.network.caip2], ExactEvmScheme(signer, ExactEvmSchemeConfig(simulate_in_settle=True))
        )
        self._package.register_v1(
            [chain.network.name], ExactEvmSchemeV1(signer, ExactEvmSchemeV1Config(simulate_in_settle=True))
        )

    def supported(self) -> SupportedResponse:
        """As the package tells it; the extension says what the chain id does not."""
        return self._package.get_supported().model_copy(update={"extensions": [DEVNET]})

    def parse(self, body: Any) -> PaymentRequest:
        """Check the JSON `{x402Version, paymentPayload, paymentRequirements}`. Raises `BadRequest` naming
        the fields that are wrong. Touches no chain."""
        version, payload, requirements = _parts(body)
        try:
            parsed = (PaymentPayload if version == 2 else PaymentPayloadV1).model_validate(payload)
            wanted = (PaymentRequirements if version == 2 else PaymentRequirementsV1).model_validate(
                requirements
            )
            (_Requirements if version == 2 else _RequirementsV1).model_validate(requirements)
            refusal = self._refusal(parsed, wanted)
            if refusal:
                return PaymentRequest(parsed, wanted, refusal)
            _Eip3009Payload.model_validate(parsed.payload)
        except ValidationError as exc:
            raise BadRequest(describe_validation(exc.errors()), code="invalid_payment") from None
        return PaymentRequest(parsed, wanted)

    def verify(self, _: DevnetChain, request: PaymentRequest) -> VerifyResponse:
        """Whether a settlement would work now. Changes nothing."""
        if request.refusal:
            return VerifyResponse(is_valid=False, invalid_reason=request.refusal, payer=request.payer)
        return self._package.verify(request.payload, request.requirements)

    def settle(self, _: DevnetChain, request: PaymentRequest) -> SettleResponse:
        """Move the money: one transaction, in a block and on the disk when this returns success."""
        if request.refusal:
            settled = SettleResponse(
                success=False,
                error_reason=request.refusal,
                transaction="",
                network=request.payload.get_network(),
                payer=request.payer,
            )
        else:
            settled = self._package.settle(request.payload, request.requirements)
        return settled.model_copy(update={"extra": {**(settled.extra or {}), **DEVNET_MARK}})

    def _refusal(
        self,
        payload: PaymentPayload | PaymentPayloadV1,
        requirements: PaymentRequirements | PaymentRequirementsV1,
    ) -> str | None:
        name = self.network.caip2 if payload.x402_version == 2 else self.network.name
        if {payload.get_network(), requirements.network} != {name}:
            return ERR_NETWORK_MISMATCH
        if {payload.get_scheme(), requirements.scheme} != {SCHEME_EXACT}:
            return ERR_UNSUPPORTED_SCHEME
        if "permit2Authorization" in payload.payload:
            return ERR_UNSUPPORTED_SCHEME
        return None


def _parts(body: Any) -> tuple[int, dict[str, Any], dict[str, Any]]:
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object", code="invalid_payment")
    payload, requirements = body.get("paymentPayload"), body.get("paymentRequirements")
    if not isinstance(payload, dict) or not isinstance(requirements, dict):
        raise BadRequest("paymentPayload and paymentRequirements are objects", code="invalid_payment")
    version = body.get("x402Version", payload.get("x402Version"))
    if type(version) is not int or version not in (1, 2):
        raise BadRequest("x402Version is 1 or 2", code="invalid_payment")
    if payload.get("x402Version", version) != version:
        raise BadRequest("x402Version differs between body and paymentPayload", code="invalid_payment")
    return version, {**payload, "x402Version": version}, requirements
