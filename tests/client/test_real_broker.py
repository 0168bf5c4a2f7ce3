"""The client against the real stack: what is bought is what is told, charged once, and counted."""

import io
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from galaksio import AsyncClient, BadAnswer, Client, NotPaid, PriceTooHigh, RequestRefused
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet

HELLO_CID = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
"""Of `hello` and a line's end, by `ipfs add --cid-version=1`."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), REDIS_URL=valkey_url) as running:
        yield running


@pytest.fixture
def client(stack: Stack, wallet: Wallet) -> Iterator[Client]:
    with Client(wallet.key, stack.broker) as client:
        yield client


def test_a_run_is_paid_and_typed(stack: Stack, wallet: Wallet, client: Client) -> None:
    before = stack.balance(wallet.address)
    run = client.run(
        "import sys, os\n"
        "print(sys.stdin.read(), sys.argv[1:], os.environ['WHO'])\n"
        "print(open('a.txt').read(), open('b', 'rb').read())\n"
        "print('late', file=sys.stderr); sys.exit(3)",
        stdin="in",
        args=["x", "y"],
        env={"WHO": "me"},
        files={"a.txt": "text", "b": b"\xff\x00"},
        timeout=10,
        size="small",
    )
    assert run.stdout == "in ['x', 'y'] me\ntext b'\\xff\\x00'\n"
    assert (run.stderr, run.exit_code, run.timed_out, run.provider) == ("late\n", 3, False, "local")
    assert before - stack.balance(wallet.address) == run.price_usd * 10**6 > 0
    assert run.receipt is not None
    assert (run.receipt.payer or "").lower() == wallet.address.lower()
    assert run.price_usd == client.signed_usd
    job = client.wait(run.job_id)
    assert (job.status, job.result["exitCode"]) == ("completed", 3)
    assert job.payment is not None
    assert (job.payment.state, job.payment.transaction) == ("settled", run.receipt.transaction)


def test_a_price_over_the_cap_costs_nothing(stack: Stack, wallet: Wallet, client: Client) -> None:
    before = stack.balance(wallet.address)
    with pytest.raises(PriceTooHigh, match=r"\$0\.0058 is over your cap of \$0\.005 "):
        client.run("print(1)", max_cost_usd="0.005")
    with Client(wallet.key, stack.broker, network="base") as other, pytest.raises(NotPaid, match="base only"):
        other.run("print(1)")
    with pytest.raises(RequestRefused, match="400: code is required") as caught:
        client.run(" ")
    assert (caught.value.code, caught.value.status) == ("code_required", 400)
    assert caught.value.request_id
    assert stack.balance(wallet.address) == before


def test_the_same_payment_id_is_charged_once_whoever_asks_again(stack: Stack, wallet: Wallet) -> None:
    before = stack.balance(wallet.address)
    runs = []
    for _ in range(2):
        with Client(wallet.key, stack.broker) as client:
            runs.append(client.run("import uuid; print(uuid.uuid4())", payment_id="order-0123456789"))
    assert runs[0] == runs[1]
    assert before - stack.balance(wallet.address) == 5800


class Pipe(io.RawIOBase):
    """Bytes that come once, and cannot be sought in."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._rest.readinto(buffer)


def test_all_that_can_be_stored_comes_to_the_same(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello\n")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"hello\n",))
    writer.start()
    with path.open("rb") as file:
        file.read()
        sources = ("hello\n", b"hello\n", path, file, tmp_path / "pipe", io.BufferedReader(Pipe(b"hello\n")))
        stored = [client.store(source, ttl=60) for source in sources]
    writer.join()
    assert {one.cid for one in stored} == {HELLO_CID}
    assert {one.size for one in stored} == {6}
    assert [one.filename for one in stored] == [None, None, "hello.txt", None, "pipe", None]
    assert [one.content_type for one in stored[:3]] == [
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "text/plain",
    ]
    with pytest.raises(FileNotFoundError):
        client.store(tmp_path / "none")
    with pytest.raises(ValueError, match="say what to store"):
        client.store()
    with pytest.raises(ValueError, match="no ttl"):
        client.store("x", permanent=True, ttl=5)
    with pytest.raises(RequestRefused, match="400"):
        client.store(url="http://127.0.0.1/")


def test_what_is_stored_comes_back_checked(client: Client, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    stored = client.store(data, filename="random.bin", permanent=True)
    assert (stored.permanent, stored.expires_at) == (True, None)
    assert client.fetch(stored.cid) == data
    assert client.download(stored.cid, tmp_path / "back.bin") == len(data)
    assert (tmp_path / "back.bin").read_bytes() == data
    assert b"".join(client.stream(stored.cid)) == data
    with pytest.raises(BadAnswer, match="over 1000 bytes"):
        client.fetch(stored.cid, max_bytes=1000)
    with pytest.raises(RequestRefused, match="404"):
        client.fetch(HELLO_CID.replace("q", "p"))


def test_a_cache_is_bought_and_used(stack: Stack, wallet: Wallet, client: Client) -> None:
    before = stack.balance(wallet.address)
    cache = client.create_cache("eu-west-1", ttl=600)
    assert (cache.bought.region, cache.bought.operations) == ("eu-west-1", 50_000)
    for key in ("plain", "..", "a/b", "x/ttl", "ü ?#"):
        cache.set(key, {"of": key}, ttl=60)
        assert cache.get(key) == {"of": key}
    assert sorted(cache.keys()) == sorted(["plain", "..", "a/b", "x/ttl", "ü ?#"])
    assert cache.keys("a", limit=5) == ["a/b"]
    assert 0 < (cache.ttl("x/ttl") or 0) <= 60
    cache.set_ttl("plain", None)
    assert cache.ttl("plain") is None
    cache.delete("plain")
    assert (cache.get("plain"), cache.get("plain", "none")) == (None, "none")
    with pytest.raises(RequestRefused, match="404"):
        cache.ttl("plain")
    assert cache.command("INCRBY", "visits", 3) == 3
    with pytest.raises(RequestRefused, match="400"):
        cache.command("INCRBY", "visits", "many")
    more = client.cache(cache.id, token="").top_up()
    assert more.added == 50_000
    with Client(base_url=stack.broker) as stranger:
        assert stranger.cache(cache.id, cache.token).get("visits") == 3
        with pytest.raises(RequestRefused, match="401"):
            stranger.cache(cache.id, "gx_wrong").get("visits")
        with pytest.raises(LookupError):
            _ = stranger.cache(cache.id, cache.token).bought
    assert before - stack.balance(wallet.address) == 30_000
    assert cache.token not in repr(cache) + repr(cache.bought)


def test_prices_are_compared_for_free(stack: Stack) -> None:
    with Client(base_url=stack.broker) as client:
        found = client.quote("run", size="small", timeout=10)
        assert found.best is not None
        assert (found.best.provider, found.best.price_usd) == ("local", "0.00025")
        with pytest.raises(RequestRefused):
            client.quote("run", size="enormous")
        with pytest.raises(RequestRefused, match="404") as caught:
            client.job("none/../such")
    assert caught.value.code in {"not-found", "not_found"}


def test_payments_are_listed_with_their_receipts_checked(client: Client) -> None:
    run = client.run("print(1)")
    stored = client.store("x", ttl=60)
    listed = client.payments()
    assert [one.job_id for one in listed] == [stored.job_id, run.job_id]
    assert {one.state for one in listed} == {"settled"}
    assert [one.receipt_valid for one in listed] == [True, True]
    assert sum(Decimal(one.amount_usd) for one in listed) == client.signed_usd
    assert client.payments(limit=1) == listed[:1]


async def test_the_asynchronous_one_is_the_same(stack: Stack, wallet: Wallet, tmp_path: Path) -> None:
    async with AsyncClient(wallet.key, stack.broker) as client:
        run = await client.run("console.log(6 * 7)", "javascript")
        stored = await client.store(b"hello\n", filename="hello.txt")
        cache = await client.create_cache()
        await cache.set("k", [1, None])
        assert (run.stdout, stored.cid, await cache.get("k")) == ("42\n", HELLO_CID, [1, None])
        assert await client.fetch(HELLO_CID) == b"hello\n"
        assert await client.download(HELLO_CID, tmp_path / "hello.txt") == 6
        assert len(await client.payments()) == 3


def test_a_host_that_charges_nothing_needs_no_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("free")
    with running_stack(folder, X402_ENABLED="false") as free, Client(base_url=free.broker) as client:
        run = client.run("print('free')")
    assert (run.stdout, run.price_usd, run.receipt) == ("free\n", 0, None)
