"""What attacks on the real store ask of it, and of what lies on its disk."""

import socket
import sqlite3
from contextlib import closing
from typing import Any

import httpx

from tests.attacks.world import new_address, read_answer, wait_until
from tests.flows.test_store import kept
from tests.support.services import Stack
from tests.support.wallets import Wallet


def asked(store: httpx.Client, request: dict[str, Any], path: str = "/store") -> httpx.Response:
    """The challenge to a request as httpx sends it."""
    challenge = store.post(path, **request)
    assert challenge.status_code == 402, challenge.text
    return challenge


def paid(
    store: httpx.Client, wallet: Wallet, request: dict[str, Any], path: str = "/store"
) -> httpx.Response:
    """The answer to a request with the payment it asked for."""
    headers = wallet.pay_v2(asked(store, request, path))
    return store.post(path, **{**request, "headers": {**request.get("headers", {}), **headers}})


def rows(host: Stack, database: str, query: str, *values: str) -> list[Any]:
    """What is in a service's books."""
    with closing(sqlite3.connect(f"file:{host.home / database}.sqlite?mode=ro", uri=True)) as books:
        return books.execute(query, values).fetchall()


def staged(host: Stack) -> int:
    """Uploads that were received and belong to no job."""
    ((count,),) = rows(host, "storage", "SELECT count(*) FROM storage_holds WHERE state = 'uploaded'")
    return int(count)


def payments(host: Stack, wallet: Wallet) -> list[tuple[str, str]]:
    """State of payment and job of everything this wallet paid, oldest first."""
    query = (
        "SELECT p.state, j.status FROM payments p JOIN jobs j ON j.id = p.job_id"
        " WHERE p.payer = ? ORDER BY p.created_at"
    )
    return rows(host, "broker", query, wallet.address.lower())


class Untouched:
    """The store as it is now; `check` that it is so again, in a moment at the latest."""

    def __init__(self, host: Stack) -> None:
        self._host = host
        self._files = kept(host)

    def check(self) -> None:
        wait_until(lambda: kept(self._host) == self._files, "nothing is left on the disk")
        wait_until(lambda: staged(self._host) == 0, "nothing is left in the books")


def head(path: str, *headers: tuple[str, str], method: str = "POST") -> bytes:
    """The head of a request, without any header but these and `Host`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: galaksio.example", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def connected(host: Stack) -> socket.socket:
    """A connection to the broker, from an address of its own."""
    return socket.create_connection(
        ("127.0.0.1", host.ports["broker"]), 15, source_address=(new_address(), 0)
    )


def raw(host: Stack, request: bytes, *, patience_s: float = 15) -> tuple[int, str, str]:
    """Status, head and body of the answer to these bytes; status 0 when there is none."""
    with connected(host) as connection:
        connection.settimeout(patience_s)
        try:
            connection.sendall(request)
            return read_answer(connection)
        except (ConnectionError, TimeoutError):
            return 0, "", ""
