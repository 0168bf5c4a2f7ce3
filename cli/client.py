"""Brokers as the commands talk to them: through `galaksio.Client`, its failures told in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from cli.config import CliError, Config
from cli.terminal import dollars, show
from galaksio.connection import asks_environment
from galaksio.errors import Error, OutcomeUnknown, PriceTooHigh, Unreachable

if TYPE_CHECKING:
    from galaksio import Client, Price


@contextmanager
def paying(config: Config, max_cost: str = "") -> Iterator["Client"]:
    """A client with the wallet of `config`, capped as the command says, else as the login does.

    Raises `CliError` with one sentence for whatever goes wrong with it.
    """
    from galaksio import Client

    cap_usd = dollars(max_cost) if max_cost else config.max_cost_usd
    with (
        in_a_sentence(),
        Client(
            config.private_key,
            config.broker_url,
            network=config.network,
            max_cost_usd=cap_usd,
            budget_usd=cap_usd,
            on_price=_show_price,
        ) as client,
    ):
        yield client


@contextmanager
def asking(url: str) -> Iterator["Client"]:
    """A client that can pay nothing. Raises `CliError` as `paying` does."""
    from galaksio import Client

    with in_a_sentence(), Client(base_url=url) as client:
        yield client


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Turns what the client raises into `CliError`."""
    try:
        yield
    except PriceTooHigh as exc:
        raise CliError(
            f"The price ${exc.price_usd} is over your cap of ${exc.limit_usd} (raise it with --max-cost)."
        ) from None
    except OutcomeUnknown as exc:
        what = str(exc).removesuffix(": do not pay again blindly.")
        raise CliError(f"{what}: see what `galaksio payments` says of it before you pay again.") from None
    except Unreachable as exc:
        raise CliError(f"{exc} Try `galaksio up`.") from None
    except Error as exc:
        raise CliError(str(exc)) from None


def _show_price(price: "Price") -> None:
    show(f"Price: ${price.usd} in USDC on {price.network}, to {price.pay_to}")


def refusal(response: httpx.Response) -> str:
    """One sentence about an answer that is none of ours to use."""
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = response.reason_phrase
    return f"The broker answered {response.status_code}: {text}."


def unreachable(url: str, error: Exception) -> CliError:
    return CliError(
        f"{url} does not answer ({type(error).__name__}): is the broker running? Try `galaksio up`."
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
