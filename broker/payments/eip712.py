"""Who signed an EIP-3009 authorization: the EIP-712 digest and the key behind the signature.

Written out for this one struct, with the domain hashed once: the general encoder of the `x402` package takes
ten times as long, on the event loop. A test holds the two equal.
"""

from functools import lru_cache

import coincurve
from sha3 import keccak_256

from broker.payments.authorization import Authorization
from shared.networks import Network

_SECP256K1_HALF_N = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def _keccak(data: bytes) -> bytes:
    return bytes(keccak_256(data).digest())


_DOMAIN = _keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_TRANSFER = _keccak(
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


def signed_by_payer(auth: Authorization, network: Network) -> bool:
    """Whether the key of `auth.payer` signed it, as the token itself would judge (EIP-712, EIP-3009).

    About 0.1 ms with coincurve, so it runs on the event loop. High-s signatures are refused as
    USDC's ECRecover does.
    """
    signature = bytes.fromhex(auth.signature[2:])
    v = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if int.from_bytes(signature[32:64]) > _SECP256K1_HALF_N or v not in {0, 1}:
        return False
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([v]), transfer_digest(auth, network), hasher=None
        )
    except Exception:  # coincurve raises a bare Exception for a signature that fits no key
        return False
    return "0x" + _keccak(key.format(compressed=False)[1:])[12:].hex() == auth.payer


def transfer_digest(auth: Authorization, network: Network) -> bytes:
    """The 32 bytes that the payer's key signs."""
    struct = _keccak(
        _TRANSFER
        + _word(auth.payer)
        + _word(auth.pay_to)
        + auth.value.to_bytes(32)
        + auth.valid_after.to_bytes(32)
        + auth.valid_before.to_bytes(32)
        + _word(auth.nonce)
    )
    return _keccak(b"\x19\x01" + _domain_separator(network) + struct)


@lru_cache(maxsize=16)
def _domain_separator(network: Network) -> bytes:
    return _keccak(
        _DOMAIN
        + _keccak(network.domain_name.encode())
        + _keccak(network.domain_version.encode())
        + network.chain_id.to_bytes(32)
        + _word(network.asset)
    )


def _word(hex_text: str) -> bytes:
    return bytes.fromhex(hex_text[2:]).rjust(32, b"\0")
