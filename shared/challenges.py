"""Reading somebody else's 402: what they want to be paid, in x402 v1 or v2 (payments.md §1).

v1 stands in the body, v2 in the `PAYMENT-REQUIRED` header. A challenge is never believed beyond its numbers:
an asset that is not in the x402 package's table of dollar tokens has no price here.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from x402.http.constants import PAYMENT_REQUIRED_HEADER
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS
from x402.mechanisms.evm.v1.constants import V1_NETWORK_CHAIN_IDS

from shared.money import MAX_ATOMIC, USD_DECIMALS, ceil_div

SCHEME = "exact"
MAX_ACCEPTS = 32
MAX_TIMEOUT_S = 30 * 86_400
"""A payment that could be taken for longer after it was signed is not what a call wants."""
_MAX_UINT256 = 2**256 - 1
_MAX_DIGITS = 78
_NOBODY = "0x" + "0" * 40
_ADDRESS = r"^0x[0-9a-fA-F]{40}$"


class ChallengeError(ValueError):
    """What came is no price; the text says why, without anything of theirs that could mislead."""


@dataclass(frozen=True)
class Wanted:
    """One way to pay. `amount` counts the asset's own units, `price_atomic` is it in 10^-6 USD, rounded up.

    `network` is CAIP-2; `entry` is the entry as it came, to be echoed; `name` and `version` are of the
    asset's EIP-712 domain, from the package's table.
    """

    x402_version: int
    network: str
    chain_id: int
    asset: str
    amount: int
    price_atomic: int
    pay_to: str
    max_timeout_s: int
    name: str
    version: str
    entry: dict[str, Any]


@dataclass(frozen=True)
class Challenge:
    """A 402 that was understood; `accepts` has at least one entry. `document` is all that it said."""

    x402_version: int
    accepts: tuple[Wanted, ...]
    document: dict[str, Any]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    scheme: str
    network: str
    asset: str = Field(pattern=_ADDRESS)
    pay_to: str = Field(alias="payTo", pattern=_ADDRESS)
    max_timeout_s: int = Field(alias="maxTimeoutSeconds", ge=1)


def read_challenge(status: int, headers: Mapping[str, str], body: bytes) -> Challenge:
    """The ways to pay of an answer, cheapest first. Raises `ChallengeError` for anything that is no price."""
    if status != 402:
        raise ChallengeError(f"answered {status} where a 402 with a price was expected")
    document = _document(headers, body)
    version, entries = document.get("x402Version"), document.get("accepts")
    if type(version) is not int or version not in (1, 2):
        raise ChallengeError("its 402 is neither x402 v1 nor v2")
    if not isinstance(entries, list) or not entries:
        raise ChallengeError("its 402 accepts no payment at all")
    understood: list[Wanted] = []
    reasons: list[str] = []
    for entry in entries[:MAX_ACCEPTS]:
        try:
            understood.append(_read(entry, version))
        except ChallengeError as exc:
            reasons.append(str(exc))
    if not understood:
        raise ChallengeError(f"nothing in its 402 can be paid: {reasons[0]}")
    understood.sort(key=lambda wanted: wanted.price_atomic)
    return Challenge(version, tuple(understood), document)


def _document(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """v2's header where there is one, else the body."""
    named = {name.lower(): value for name, value in headers.items()}
    encoded = named.get(PAYMENT_REQUIRED_HEADER.lower())
    try:
        # It bounds the depth by itself, and takes no half of a surrogate pair.
        document = from_json(base64.b64decode(encoded) if encoded else body, allow_inf_nan=False)
        # 1e999 is read as infinity, which cannot be echoed: it is no JSON any more.
        json.dumps(document, allow_nan=False)
    except ValueError:
        raise ChallengeError("its 402 is not JSON") from None
    if not isinstance(document, dict):
        raise ChallengeError("its 402 is not a JSON object")
    return document


def _read(entry: Any, version: int) -> Wanted:
    try:
        read = _Entry.model_validate(entry)
    except ValidationError:
        raise ChallengeError("an entry is not as x402 has it") from None
    if read.scheme != SCHEME:
        raise ChallengeError(f"only the scheme `{SCHEME}` can be paid")
    if read.pay_to == _NOBODY:
        raise ChallengeError("the payment would go to nobody's address")
    if read.max_timeout_s > MAX_TIMEOUT_S:
        raise ChallengeError("the payment would hold for over 30 days")
    chain_id = _chain_id(read.network, version)
    token = _token(chain_id, read.asset)
    amount = _amount(entry.get("maxAmountRequired" if version == 1 else "amount"))
    price_atomic = _in_usd(amount, token["decimals"])
    return Wanted(
        x402_version=version,
        network=f"eip155:{chain_id}",
        chain_id=chain_id,
        asset=token["asset"],
        amount=amount,
        price_atomic=price_atomic,
        pay_to=read.pay_to,
        max_timeout_s=read.max_timeout_s,
        name=token["name"],
        version=token["version"],
        entry=entry,
    )


def _chain_id(network: str, version: int) -> int:
    known = V1_NETWORK_CHAIN_IDS.get(network) if version == 1 else None
    space, _, number = network.partition(":")
    if known is None and space == "eip155" and len(number) < 20 and _is_number(number):
        known = int(number)
    if known is None:
        raise ChallengeError("the network is not known here")
    return known


def _token(chain_id: int, asset: str) -> dict[str, Any]:
    for token in DEFAULT_ASSETS.get(f"eip155:{chain_id}", []):
        if str(token["asset"]).lower() == asset.lower():
            return dict(token)
    raise ChallengeError("the asset is not a dollar token that is known here")


def _amount(value: Any) -> int:
    if not isinstance(value, str) or len(value) > _MAX_DIGITS or not _is_number(value):
        raise ChallengeError("the amount is not a whole number")
    amount = int(value)
    if amount == 0:
        raise ChallengeError("the amount is zero, which is no price")
    if amount > _MAX_UINT256:
        raise ChallengeError("the amount is more than a token can hold")
    return amount


def _is_number(text: str) -> bool:
    """Digits as a program writes them: `int` also reads `١٢`, `1_000` and `007`."""
    return text.isascii() and text.isdecimal() and (text == "0" or text[0] != "0")


def _in_usd(amount: int, decimals: int) -> int:
    scale = decimals - USD_DECIMALS
    atomic = ceil_div(amount, 10**scale) if scale >= 0 else amount * 10**-scale
    if atomic > MAX_ATOMIC:
        raise ChallengeError("the amount is beyond all sense")
    return atomic
