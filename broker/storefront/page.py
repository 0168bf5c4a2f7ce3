"""The 402 as a page for people: what is sold, for how much, and how to pay (payments.md §1).

Every value is escaped; nothing is loaded from anywhere; the one script copies a command.
"""

import html
import json
import secrets
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from broker.operations import Operation
from shared.money import atomic_to_usd
from shared.networks import Network

TEST_NETWORK = "base-sepolia"
_CLI = {
    "run": ("echo \"print('Hello')\" > hello.py", "galaksio run hello.py"),
}
"""How the `galaksio` command buys an operation, where it can."""


@dataclass(frozen=True)
class Sale:
    """What one 402 is about. `price_atomic` is 10^-6 USD; with `starting` it is the least it can cost."""

    operation: Operation
    resource: str
    network: Network
    pay_to: str
    price_atomic: int
    starting: bool
    note: str | None = None


def payment_page(sale: Sale, headers: dict[str, str]) -> HTMLResponse:
    """The 402 as HTML, with `headers` (the challenge itself) and a policy that allows only its own parts."""
    nonce = secrets.token_urlsafe(18)
    network = sale.network
    test = network.name == TEST_NETWORK
    text = _template().substitute(
        nonce=nonce,
        title=html.escape(sale.operation.description),
        name=html.escape(sale.operation.name),
        resource=html.escape(sale.resource),
        price=html.escape(atomic_to_usd(sale.price_atomic)),
        starting="from " if sale.starting else "",
        price_note=(
            "The least it can cost: send your request to learn its own price."
            if sale.starting
            else "The price of exactly this request."
        ),
        note=f'<p class="note" role="status">{html.escape(sale.note)}</p>' if sale.note else "",
        network=html.escape(f"{network.name} ({'test money, ' if test else ''}{network.caip2})"),
        token=html.escape(f"{network.domain_name} {network.asset}"),
        pay_to=html.escape(sale.pay_to),
        commands="".join(_command(title, command) for title, command in _commands(sale)),
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text,
        402,
        headers={
            **headers,
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )


def _commands(sale: Sale) -> list[tuple[str, str]]:
    parts = urlsplit(sale.resource)
    base = f"{parts.scheme}://{parts.netloc}"
    example: dict[str, Any] = sale.operation.example
    curl = (
        f"curl -i {shlex.quote(sale.resource)} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {_quoted(json.dumps(example, ensure_ascii=False))}"
    )
    login = f"galaksio login --url {shlex.quote(base)} --network {shlex.quote(sale.network.name)}"
    paying = [login, *_CLI.get(sale.operation.name, ())]
    return [
        *(
            [
                (
                    "Pay with the galaksio command: it asks for your key once and shows each price",
                    "\n".join(paying),
                )
            ]
            if len(paying) > 1
            else []
        ),
        ("See the bill with curl: the answer is a 402 that any x402 client can pay", curl),
    ]


def _quoted(text: str) -> str:
    """Quoted for a POSIX shell, an apostrophe in the shorter of the two usual spellings."""
    return shlex.quote(text).replace("'\"'\"'", "'\\''")


def _command(title: str, command: str) -> str:
    return (
        f'<section class="command"><h3>{html.escape(title)}</h3>'
        f'<div class="box"><pre tabindex="0"><code>{html.escape(command)}</code></pre>'
        '<button type="button" hidden>Copy</button></div></section>'
    )


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("payment_required.html").read_text(encoding="utf-8"))
