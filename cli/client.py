"""Paying: ask, show the price, sign within the cap, ask again. The x402 package reads the 402 and signs."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.config import CliError, Config
from shared.money import atomic_to_usd, usd_to_atomic
from shared.networks import network_named

REQUEST_TIMEOUT_S = 180.0
PENDING_TRIES = 30
PENDING_PAUSE_S = 2.0

Show = Callable[[str], None]
"""Told the price before anything is signed."""
Send = Callable[[dict[str, str]], Awaitable[httpx.Response]]
"""Sends one request, the same each time but for the headers that it is given. Raises `httpx.HTTPError`."""


@dataclass(frozen=True)
class Paid:
    """An answer and, when something was paid, its receipt (`transaction`, `network`, `payer`)."""

    body: dict[str, Any]
    receipt: dict[str, Any] | None


async def paid_post(
    config: Config, path: str, body: dict[str, Any], show: Show, cap_atomic: int | None = None
) -> Paid:
    """POST `body` as JSON, pay the 402 if its price is within the cap, and return the result.

    Raises `CliError` with one sentence for a price over the cap, another network than `config.network`, and
    whatever the broker refuses.
    """
    async with _client(config.broker_url) as http:

        async def send(headers: dict[str, str]) -> httpx.Response:
            return await http.post(path, json=body, headers=headers)

        return await pay(config, send, show, cap_atomic)


async def pay(config: Config, send: Send, show: Show, cap_atomic: int | None = None) -> Paid:
    """Send a request, pay the 402 that comes back, send it again; as `paid_post`, however it is sent."""
    payment: dict[str, str] = {}
    try:
        response = await send(payment)
        if response.status_code == 402:
            cap = usd_to_atomic(config.max_cost_usd) if cap_atomic is None else cap_atomic
            payment = await _payment(config, response, show, cap)
            response = await send(payment)
        if response.status_code == 202:
            await _until_known(config.broker_url, response.headers["Location"])
            response = await send(payment)  # it is not charged twice: this asks for its result
    except httpx.HTTPError as exc:
        raise (_broken_off if payment else unreachable)(config.broker_url, exc) from None
    if response.status_code != 200:
        raise CliError(refusal(response))
    return Paid(response.json(), _receipt(response))


def _client(broker_url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=broker_url, timeout=REQUEST_TIMEOUT_S, trust_env=asks_environment(broker_url)
    )


def asks_environment(url: str) -> bool:
    """Whether the environment's proxies count for `url`: not for plain HTTP on this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme != "http" or not local


async def _payment(config: Config, challenge: httpx.Response, show: Show, cap: int) -> dict[str, str]:
    """The headers that pay for `challenge`, a 402."""
    from x402 import x402Client
    from x402.http.x402_http_client import x402HTTPClient

    payer = x402Client()
    refusals: list[str] = []
    _register(payer, config, cap, show, refusals)
    try:
        headers, _ = await x402HTTPClient(payer).handle_402_response(
            dict(challenge.headers), challenge.content, str(challenge.url)
        )
    except Exception as exc:  # whatever the package cannot read or may not pay
        raise CliError(refusals[0] if refusals else f"The payment could not be made: {exc}.") from None
    return headers


def _register(payer: Any, config: Config, cap: int, show: Show, refusals: list[str]) -> None:
    from eth_account import Account
    from x402 import AbortResult
    from x402.mechanisms.evm.exact.client import ExactEvmScheme

    network = network_named(config.network)

    def before(context: Any) -> AbortResult | None:
        wanted = context.selected_requirements
        price = int(wanted.get_amount())
        if not network.matches(str(wanted.network)) or wanted.asset.lower() != network.asset.lower():
            refusals.append(
                f"The broker asks for a payment on {wanted.network}; you pay on {network.name} only."
            )
        elif price > cap:
            refusals.append(
                f"The price ${atomic_to_usd(price)} is over your cap of ${atomic_to_usd(cap)} "
                "(raise it with --max-cost)."
            )
        if refusals:
            return AbortResult(reason=refusals[0])
        show(f"Price: ${atomic_to_usd(price)} in USDC on {network.name}, to {wanted.pay_to}")
        return None

    payer.register(network.caip2, ExactEvmScheme(Account.from_key(config.private_key)))
    # The cap below is ours and exact; the package's own would refuse with less helpful words.
    payer.set_spend_controls({"max_amount_per_payment": False})
    payer.on_before_payment_creation(before)


async def _until_known(broker_url: str, location: str) -> None:
    """The outcome is not known yet: ask for the job until it is completed. Raises `CliError` otherwise."""
    async with _client(broker_url) as http:
        for _ in range(PENDING_TRIES):
            await asyncio.sleep(PENDING_PAUSE_S)
            job = (await http.get(location)).json()
            if job["status"] == "completed":
                return
            if job["status"] in {"failed", "unpaid", "cancelled"}:
                raise CliError(f"The job ended as {job['status']}: {job.get('error') or 'no reason given'}.")
    raise CliError(f"The payment's outcome is still not known; do not pay again, look at {location} later.")


def refusal(response: httpx.Response) -> str:
    """One sentence about an answer that is none of ours to use."""
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = response.reason_phrase
    return f"The broker answered {response.status_code}: {text}."


def _receipt(response: httpx.Response) -> dict[str, Any] | None:
    from x402.http.utils import decode_payment_response_header

    header = response.headers.get("PAYMENT-RESPONSE") or response.headers.get("X-PAYMENT-RESPONSE")
    return decode_payment_response_header(header).model_dump(exclude_none=True) if header else None


def unreachable(url: str, error: Exception) -> CliError:
    return CliError(
        f"{url} does not answer ({type(error).__name__}): is the broker running? Try `galaksio up`."
    )


def _broken_off(url: str, error: Exception) -> CliError:
    return CliError(
        f"The connection to {url} broke off while it was paid ({type(error).__name__}): "
        "see what `galaksio payments` says of it before you pay again."
    )


def fetch(url: str, method: str, path: str, **kwargs: Any) -> Any:
    """One free request; returns the JSON. Raises `CliError` for no answer or a refusal."""
    try:
        return _answer(url, method, path, **kwargs).json()
    except ValueError:
        raise CliError(f"{url} did not answer with JSON: is it a Galaksio broker?") from None


def fetch_text(url: str, method: str, path: str, media_type: str, **kwargs: Any) -> str:
    """As `fetch`, for text of this media type. Raises `CliError` also for any other."""
    response = _answer(url, method, path, headers={"Accept": media_type}, **kwargs)
    if response.headers.get("content-type", "").partition(";")[0].strip() != media_type:
        raise CliError(f"The broker does not answer as {media_type}.")
    return response.text


def _answer(url: str, method: str, path: str, **kwargs: Any) -> httpx.Response:
    try:
        response = httpx.request(method, url + path, timeout=15, trust_env=asks_environment(url), **kwargs)
    except httpx.HTTPError as exc:
        raise unreachable(url, exc) from None
    if response.status_code != 200:
        raise CliError(refusal(response))
    return response
