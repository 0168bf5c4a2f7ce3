"""The sign-in text of EIP-4361, written and read in one place: the broker issues it, the wallet checks it.

Only the fields that Galaksio uses are known, so that a text with anything more in it is not a sign-in.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

STATEMENT = "Sign in to Galaksio to see your payments. This moves no money."

_TEXT = re.compile(
    r"(?P<domain>[^\s/?#@]{1,255}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n"
    r"\n"
    r"(?P<statement>[\x20-\x7e]{1,200})\n"
    r"\n"
    r"URI: (?P<uri>https?://[^\s]{1,500})\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,18})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,64})\n"
    r"Issued At: (?P<issued_at>[0-9T:.Z+-]{20,35})\n"
    r"Expiration Time: (?P<expiration_time>[0-9T:.Z+-]{20,35})",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class SignInMessage:
    """An EIP-4361 message. `address` has its EIP-55 checksum, times are ISO 8601 in UTC."""

    domain: str
    address: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    expiration_time: str
    statement: str = STATEMENT

    def text(self) -> str:
        """What is signed, as EIP-191 personal message."""
        return (
            f"{self.domain} wants you to sign in with your Ethereum account:\n"
            f"{self.address}\n"
            "\n"
            f"{self.statement}\n"
            "\n"
            f"URI: {self.uri}\n"
            "Version: 1\n"
            f"Chain ID: {self.chain_id}\n"
            f"Nonce: {self.nonce}\n"
            f"Issued At: {self.issued_at}\n"
            f"Expiration Time: {self.expiration_time}"
        )


def parse_sign_in(text: str) -> SignInMessage:
    """Read a sign-in text. Raises `ValueError` for any text that `SignInMessage.text` does not write."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("not an EIP-4361 sign-in text")
    fields: dict[str, Any] = match.groupdict()
    return SignInMessage(**{**fields, "chain_id": int(fields["chain_id"])})


def domain_of(url: str) -> str:
    """The RFC 3986 authority of a base URL without user info: `https://Api.test:443/x` → `api.test`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    return host if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{port}"
