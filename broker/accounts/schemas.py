"""JSON of sign-in and of the payments listing."""

from typing import Literal

from eth_utils.address import is_checksum_formatted_address, to_checksum_address
from pydantic import BaseModel, Field, field_validator


class NonceAsk(BaseModel):
    """Who wants to sign in."""

    address: str = Field(pattern=r"^0x[0-9a-fA-F]{40}$", examples=["0x" + "11" * 20])

    @field_validator("address")
    @classmethod
    def _checksum(cls, value: str) -> str:
        if is_checksum_formatted_address(value) and to_checksum_address(value) != value:
            raise ValueError("wrong checksum: a digit may be mistyped")
        return value


class NonceIssued(BaseModel):
    """The EIP-4361 text to sign as a personal message; its nonce works once, until `expiresAt`."""

    message: str
    nonce: str
    expiresAt: str


class VerifyAsk(BaseModel):
    """The signature (65 bytes, a plain key's) of the issued text, named by `nonce` or given whole."""

    message: str | None = Field(None, max_length=2000)
    nonce: str | None = Field(None, pattern=r"^[A-Za-z0-9]{8,64}$", examples=["q3Hj8Zp0LmXw5TnB"])
    signature: str = Field(pattern=r"^0x[0-9a-fA-F]{130}$", examples=["0x" + "1b" * 65])


class SessionOpened(BaseModel):
    """Send `token` as `Authorization: Bearer …`."""

    token: str
    address: str
    expiresAt: str


class SignedReceipt(BaseModel):
    """EIP-712 typed data, signed by the key that `GET /.well-known/x402` publishes (`shared/receipts.py`)."""

    version: Literal[1] = 1
    broker: str
    network: str
    asset: str
    payTo: str
    payer: str
    amount: str
    transaction: str
    requestHash: str
    resultHash: str
    jobId: str
    settledAt: str
    signature: str


class Refund(BaseModel):
    """Money that is `owed` back, or was `paid` back in `transaction`."""

    state: str
    amountAtomic: str
    amountUsd: str
    reason: str
    transaction: str | None


class PaymentStatement(BaseModel):
    """One payment as its payer and the operator see it. `amountAtomic` is 10^-6 USD.

    `receipt` is there once the payment is settled and its result is kept.
    """

    id: str
    jobId: str
    state: str
    amountAtomic: str
    amountUsd: str
    network: str
    asset: str
    payer: str
    payTo: str
    nonce: str
    transaction: str | None
    reason: str | None
    operation: str | None
    provider: str | None
    createdAt: str
    updatedAt: str
    requestHash: str
    receipt: SignedReceipt | None
    refund: Refund | None


class PaymentPage(BaseModel):
    """Newest first. `nextCursor` is null on the last page."""

    payments: list[PaymentStatement]
    nextCursor: str | None
