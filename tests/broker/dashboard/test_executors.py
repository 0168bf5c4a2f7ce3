"""Which executors there are: behind a name of several addresses, and behind one that several share."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from broker.clients import QuoteClient
from broker.dashboard import executors as asking
from broker.dashboard import neighbours as waiting
from broker.dashboard.executors import SEEN_S, Executors, shared_wallet
from broker.dashboard.neighbours import Neighbours
from tests.broker.conftest import FakeClock
from tests.support.ports import free_port
from tests.support.standin import DROPPED, Answer, StandIn

WALLET = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
NAME = "executor.test"


class Replica(StandIn):
    """An executor at an address of its own, on the port that all of them have."""

    def __init__(self, host: str, port: int, instance: str | None) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.told: dict[str, Any] = {"machine": f"machine-of-{instance}", "payer": None}
        if instance is not None:
            self.told["instance"] = instance
        self.sandbox: dict[str, Any] = {"slots": 4, "slotsFree": 3, "waiting": 1, "ready": {"python": 2}}
        self.dropped = False

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if self.dropped:
            return DROPPED
        local = {"kind": "compute", "name": "local", "status": "available", **self.sandbox}
        redis = {"kind": "cache", "name": "redis", "status": "disabled"}
        return Answer.of({**self.told, "providers": [local, redis]})

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)


Start = Callable[[str, str | None], Replica]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here is slow, but for the machine."""
    monkeypatch.setattr(asking, "ASK_TIMEOUT_S", 20.0)
    monkeypatch.setattr(waiting, "ASK_TIMEOUT_S", 20.0)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(port: int) -> Iterator[Start]:
    with ExitStack() as stack:

        def go(host: str, instance: str | None) -> Replica:
            replica = Replica(host, port, instance)
            replica.start()
            stack.callback(replica.stop)
            return replica

        yield go


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `NAME` stands for."""
    found: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host not in {NAME, NAME.encode()}:
            return real(host, port, *more, **options)
        return [entry for address in found for entry in real(address, port, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


def client(port: int, host: str = NAME) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=20)


async def test_each_address_of_a_name_is_asked_and_each_executor_has_its_own_figures(
    start: Start, addresses: list[str], port: int
) -> None:
    one, two = start("127.0.0.1", "one"), start("127.0.0.2", "two")
    two.sandbox |= {"slots": 2, "slotsFree": 0, "ready": {"python": 0, "bash": 1}, "accepting": False}
    addresses += [one.host, two.host, one.host]
    async with client(port) as http:
        found = await Executors(http, FakeClock()).look()
    first, second = (executor.line() for executor in found)
    assert (first.id, first.machine, first.slots, first.slotsFree, first.waiting) == (
        *("one", "machine-of-one"),
        *(4, 3, 1),
    )
    assert (second.slots, second.slotsFree, second.ready) == (2, 0, {"python": 0, "bash": 1})
    assert (first.accepting, second.accepting) == (True, False)
    rows = {(row.executor, row.name) for executor in found for row in executor.rows}
    assert rows == {("one", "local"), ("one", "redis"), ("two", "local"), ("two", "redis")}
    assert all(f"Host: {NAME}:{port}".lower() in head.lower() for head in one.heads)


async def test_executors_behind_one_address_are_remembered_until_they_were_not_met_for_a_while(
    start: Start, addresses: list[str], port: int
) -> None:
    door, clock = start("127.0.0.1", "one"), FakeClock()
    addresses.append(door.host)
    async with client(port) as http:
        executors = Executors(http, clock)
        await executors.look()
        began_s = clock()
        clock.now = began_s + SEEN_S / 2
        door.told |= {"instance": "two", "machine": "another"}
        assert [one.id for one in await executors.look()] == ["two", "one"]
        assert len({one.line().seenAt for one in await executors.look()}) == 2
        clock.now = began_s + SEEN_S
        assert [one.id for one in await executors.look()] == ["two"]
    assert all("connection: close" in head.lower() for head in door.heads)


async def test_an_address_where_nobody_is_hides_no_other_executor(
    start: Start, addresses: list[str], port: int
) -> None:
    one, two = start("127.0.0.1", None), start("127.0.0.2", "two")
    addresses += ["127.0.0.3", one.host, two.host]
    two.dropped = True
    async with client(port) as http:
        executors = Executors(http, FakeClock())
        # It does not say who it is, so it is called by where it is.
        assert [found.id for found in await executors.look()] == [f"127.0.0.1:{port}"]
        one.dropped = True
        with pytest.raises(httpx.HTTPError):
            await executors.look()


async def test_all_executors_make_the_plot_of_the_slots_and_a_wallet_shared_with_the_host_is_said_once(
    start: Start, addresses: list[str], port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = start("127.0.0.1", "one"), start("127.0.0.2", "two")
    addresses += [one.host, two.host]
    async with client(port) as http:
        neighbours = Neighbours(QuoteClient(http), http, FakeClock(), WALLET)
        assert (await seen(neighbours)).warnings == ()
        slots = neighbours.slots()
        assert (slots.used, slots.free, slots.waiting) == ([2], [6], [2])
        two.told["payer"] = WALLET.lower()
        for _ in range(2):
            (warning,) = (await seen(neighbours)).warnings
            assert "machine-of-two" in warning
            assert "X402_WALLET_ADDRESS" in warning
        two.told["payer"] = "0x" + "12" * 20
        assert (await seen(neighbours)).warnings == ()
    assert capsys.readouterr().out.count("wallet_shared") == 1


async def seen(neighbours: Neighbours) -> Any:
    """The next look, however long it takes."""
    await neighbours.look()
    assert neighbours._asking is not None
    return await neighbours._asking


async def test_nobody_shares_a_wallet_where_no_one_is_paid_or_no_one_pays(
    start: Start, addresses: list[str], port: int
) -> None:
    addresses.append(start("127.0.0.1", "one").host)
    async with client(port) as http:
        found = await Executors(http, FakeClock()).look()
    assert shared_wallet(found, WALLET) is None
    assert shared_wallet(found, None) is None


@pytest.mark.parametrize(
    "told",
    [[], {}, {"providers": [{}]}, {"providers": [], "instance": 1}, {"providers": [], "instance": 65 * "x"}],
)
async def test_what_is_no_list_of_providers_is_no_executor(
    start: Start, addresses: list[str], port: int, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = start("127.0.0.1", "one")
    addresses.append(replica.host)

    async def answer(*_: Any) -> Answer:
        return Answer(body=json.dumps(told).encode())

    monkeypatch.setattr(replica, "answer", answer)
    async with client(port) as http:
        with pytest.raises(ValueError, match="ExecutorTold"):
            await Executors(http, FakeClock()).look()
