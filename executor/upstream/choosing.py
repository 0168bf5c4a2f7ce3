"""Which of the ways to pay that a 402 names is taken, and where a payment may be sent at all."""

import ipaddress
from urllib.parse import urlsplit

from executor.upstream.errors import UpstreamRefused
from shared.challenges import Challenge, ChallengeError, Wanted, read_challenge
from shared.networks import Network, money_of


def understand(provider: str, status: int, headers: dict[str, str], body: bytes) -> Challenge:
    """Read a 402. Raises `UpstreamRefused` for one that cannot be understood."""
    try:
        return read_challenge(status, headers, body)
    except ChallengeError as exc:
        raise UpstreamRefused(f"{provider} cannot be paid: {exc}.") from None


def choose(
    provider: str, challenge: Challenge, network: Network, payer: str | None, *, anywhere: bool = False
) -> Wanted:
    """The cheapest way to pay in the dollars of `network`. Raises `UpstreamRefused` without one.

    `anywhere`: on any network whose money is as real as that of `network`, which is what customers pay with.
    A way that pays ourselves, or whose token is told differently than we know it, is left out.
    """
    reasons = []
    for wanted in challenge.accepts:
        reason = _wrong_money(wanted, network, anywhere) or _objection(wanted, payer)
        if reason is None:
            return wanted
        reasons.append(reason)
    raise UpstreamRefused(f"{provider} cannot be paid: {reasons[0]}.")


def check_place(provider: str, url: str, network: Network) -> None:
    """A signed authorization is money: it goes over TLS only, but for test money on this machine or near it.

    Raises `UpstreamRefused`.
    """
    if urlsplit(url).scheme == "https":
        return
    if not is_safe(url):
        raise UpstreamRefused(f"{provider} is not paid over http: its address must begin with https://.")
    if money_of(network.caip2) != "test":
        raise UpstreamRefused(f"{provider} is not paid over http with money of {network.name}: use https://.")


def is_safe(url: str) -> bool:
    """Whether a secret may be sent there: over TLS, or to this machine or one of its private network."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _is_near(parts.hostname or "")


def host_of(url: str) -> str:
    """Host and port, without the rest, which may hold a customer's data."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _wrong_money(wanted: Wanted, network: Network, anywhere: bool) -> str | None:
    if anywhere:
        alike = money_of(wanted.network) == money_of(network.caip2)
        return None if alike else f"its money is not worth what that of {network.name} is"
    if (wanted.network, wanted.asset) != (network.caip2, network.asset):
        return f"it wants to be paid in something else than dollars on {network.name}"
    return None


def _objection(wanted: Wanted, payer: str | None) -> str | None:
    extra = wanted.entry.get("extra") or {}
    if payer is not None and wanted.pay_to.lower() == payer.lower():
        return "it wants the money to go to ourselves"
    if not isinstance(extra, dict):
        return "its 402 is not as x402 has it"
    if any(extra.get(key, known) != known for key, known in _known(wanted).items()):
        return "it tells the token's domain differently than the token itself"
    return None


def _known(wanted: Wanted) -> dict[str, str]:
    return {"name": wanted.name, "version": wanted.version, "assetTransferMethod": "eip3009"}


def _is_near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_private and not address.is_unspecified
