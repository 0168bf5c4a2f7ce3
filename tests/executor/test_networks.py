"""Network namespaces are used again only by runs that could not tell."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.networks import Network, Networks, open_networks
from shared.jobs import RunRequest
from tests.executor.conftest import Run, open_descriptors, opened, root_only, runner, until

pytestmark = root_only

OWN = Path("/proc/thread-self/ns/net")
HERE = "import os; print(os.readlink('/proc/self/ns/net'))\n"
LOOPBACK = (
    "import socket\n"
    "server = socket.create_server(('127.0.0.1', 0))\n"
    "client = socket.create_connection(server.getsockname()[:2])\n"
    "client.sendall(b'x'); print(server.accept()[0].recv(1))\n"
)
USED = {
    "talks over loopback": LOOPBACK,
    "talks over loopback with IPv6": LOOPBACK.replace(
        "('127.0.0.1', 0)", "('::1', 0), family=socket.AF_INET6"
    ),
    "sends a datagram to nobody": (
        "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n"
    ),
    "tries to get out": (
        "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e)\n"
    ),
}


@pytest.fixture
async def one_at_a_time() -> AsyncIterator[Sandbox]:
    made = await opened(Options(slots=1))
    assert made.state == "available", made.reason
    yield made
    await made.close()


@pytest.fixture
def run(one_at_a_time: Sandbox) -> Run:
    return runner(one_at_a_time)


@pytest.fixture
def networks() -> Iterator[Networks]:
    made = open_networks(2)
    if made is None:
        pytest.skip("this process may not make network namespaces")
    yield made
    made.close()


async def test_a_network_that_was_not_used_serves_the_next_run(run: Run) -> None:
    first = (await run(HERE)).stdout
    assert first.startswith("net:[")
    assert [(await run(HERE)).stdout for _ in range(3)] == [first] * 3
    assert str(OWN.readlink()) + "\n" != first


@pytest.mark.parametrize("way", USED)
async def test_one_that_was_used_is_gone_with_its_run(run: Run, way: str) -> None:
    before = await run(HERE)
    used = await run(HERE + USED[way])
    assert used.exit_code == 0, used.stderr
    assert used.stdout.startswith(before.stdout)
    after = await run(HERE + "print(open('/proc/net/dev').read(), open('/proc/net/snmp').read())")
    assert not after.stdout.startswith(before.stdout)
    fresh = (await run("print(open('/proc/net/dev').read(), open('/proc/net/snmp').read())")).stdout
    assert after.stdout.split("\n", 1)[1] == fresh


async def test_runs_at_the_same_time_have_networks_of_their_own() -> None:
    sandbox = await opened(Options(slots=3))
    try:
        seen: list[bytes] = []

        def told(_: str, data: bytes) -> None:
            seen.extend(data.splitlines())  # nothing when it begins, then its one line

        code = HERE.replace("'))", "'), flush=True)") + "import time; time.sleep(60)"
        request = RunRequest(code=code, timeout_s=60)
        runs = [asyncio.create_task(sandbox.run(request, told)) for _ in range(3)]
        assert await until(lambda: len(seen) == 3)
        assert len(set(seen)) == 3
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
    finally:
        await sandbox.close()


async def test_a_run_may_change_nothing_in_its_network(run: Run) -> None:
    code = (
        "import fcntl, socket, struct\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "try: fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 0)); print('down')\n"
        "except OSError as e: print(type(e).__name__)\n"
        "try: open('/proc/sys/net/ipv4/ip_default_ttl', 'w').write('1'); print('set')\n"
        "except OSError as e: print(type(e).__name__)\n"
    )
    assert (await run(code)).stdout.split() in (
        ["PermissionError", "PermissionError"],
        ["PermissionError", "OSError"],
    )


async def test_the_self_test_notices_a_sandbox_that_is_not_born_in_its_network(
    monkeypatch: pytest.MonkeyPatch, networks: Networks
) -> None:
    monkeypatch.setattr(Network, "joined", lambda _: nullcontext())
    sandbox = await opened(Options(slots=1))
    state, reason = sandbox.state, sandbox.reason
    await sandbox.close()
    assert (state, "network" in reason) == ("unavailable", True), reason


def test_threads_come_back_and_a_socket_that_is_left_spoils_a_network(networks: Networks) -> None:
    own = OWN.readlink()
    network = networks.take()
    with network.joined():
        assert OWN.readlink() != own
        left = socket.socket()
    assert OWN.readlink() == own
    assert not network.unused()
    left.close()
    assert network.unused()


def test_no_more_are_kept_than_wanted_and_none_stays_open(networks: Networks) -> None:
    def descriptors() -> int:
        """Those of networks: servers of other tests in this process come and go with theirs."""
        return sum(
            link.startswith("net:[") or (link.startswith("/proc/") and "/net/" in link)
            for link in open_descriptors()
        )

    networks.close()
    before = descriptors()
    taken = [networks.take() for _ in range(5)]
    assert len({os.fstat(network.namespace).st_ino for network in taken}) == 5
    for network in taken:
        networks.give_back(network)
    one = networks.take()
    assert descriptors() == before + 2 * len((one.namespace, one.sockets, *one.counters))
    networks.give_back(one)
    networks.close()
    assert descriptors() == before
