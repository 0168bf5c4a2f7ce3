"""Which sign-in texts a wallet may sign: those of the broker it talks to, and nothing else."""

import ipaddress
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from galaksio.errors import TermsRefused
from shared.sign_in import STATEMENT, SignInMessage, domain_of, parse_sign_in

LONGEST_SIGN_IN = timedelta(minutes=15)


def check_sign_in(text: str, *, url: str, address: str, chain_id: int, now: datetime) -> SignInMessage:
    """The sign-in in `text`, when it is one that this wallet may sign for the broker at `url`.

    Raises `TermsRefused` for any other text: a signature could be used elsewhere.
    """
    try:
        message = parse_sign_in(text)
        issued, expires = _time(message.issued_at), _time(message.expiration_time)
    except ValueError:
        raise _not_signed("what it sent is not an EIP-4361 sign-in") from None
    if not _same_place(message.uri, url) or not _same_place(f"{_scheme(url)}://{message.domain}", _root(url)):
        raise _not_signed(
            f"the sign-in is for {message.uri}, not for {url} (use that address, "
            "or set PUBLIC_BASE_URL on the broker)"
        )
    wrong = [
        name
        for name, good in (
            ("wallet", message.address.lower() == address.lower()),
            ("network", message.chain_id == chain_id),
            ("statement", message.statement == STATEMENT),
            ("expiry", now < expires <= now + LONGEST_SIGN_IN and issued < expires),
        )
        if not good
    ]
    if wrong:
        raise _not_signed(f"the sign-in has another {' and '.join(wrong)} than expected")
    return message


def _same_place(one: str, other: str) -> bool:
    """Whether two base URLs are one: the names of this machine's loopback are the same place."""
    try:
        return _place(one) == _place(other)
    except ValueError:
        return False


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    authority = domain_of(url)
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    place = f"loopback:{parts.port or ''}" if local else authority
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("more than the address of a broker")
    return parts.scheme, place, parts.path.rstrip("/")


def _scheme(url: str) -> str:
    return urlsplit(url).scheme


def _root(url: str) -> str:
    return urlsplit(url)._replace(path="").geturl()


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


def _not_signed(why: str) -> TermsRefused:
    return TermsRefused(f"Nothing was signed: {why}.")
