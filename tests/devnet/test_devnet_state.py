"""One SQLite file: it survives restarts and SIGKILL, and has one owner."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from devnet.main import create_app
from devnet.settings import DevnetSettings
from shared.errors import StartupError
from tests.devnet.conftest import OpenDevnet
from tests.devnet.support import (
    NONCE_USED,
    Client,
    FakeClock,
    Payer,
    end_of,
    payment,
    running,
    start,
)
from tests.support.ports import free_port

SELLER = Payer().address


async def test_balances_receipts_and_used_authorizations_survive_a_restart(
    open_devnet: OpenDevnet, clock: FakeClock
) -> None:
    async with open_devnet() as devnet:
        payer = await devnet.funded()
        payload = payer.authorize(SELLER, 9, clock())
        settled = await devnet.post("/settle", payment(2, payload))
        before = await devnet.rpc("eth_getTransactionReceipt", settled["transaction"])
        supported = await devnet.get("/supported")
    async with open_devnet() as devnet:
        assert await devnet.balance(SELLER) == 9
        assert await devnet.used(payload) is True
        assert await devnet.rpc("eth_getTransactionReceipt", settled["transaction"]) == before
        assert await devnet.get("/supported") == supported
        again = await devnet.post("/settle", payment(1, payload))
        assert (again["success"], again["errorReason"]) == (False, NONCE_USED)
        assert (await devnet.post("/settle", payment(2, payer.authorize(SELLER, 9, clock()))))["success"]
        assert await devnet.balance(SELLER) == 18


_DIE_AT_COMMIT = """
import json, os, signal, sys, time
from pathlib import Path
from devnet.chain import DevnetChain
from devnet.facilitator import Facilitator
from devnet.settings import DevnetSettings, local_network
from devnet.dollar import pay_out

home, moment, body, payer = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
settings = DevnetSettings(galaksio_home=Path(home))
chain = DevnetChain(settings.state_path, local_network(settings), time.time)
pay_out(chain, payer)

class Dying:
    def __init__(self, real):
        self.real = real
    def __getattr__(self, name):
        return getattr(self.real, name)
    def execute(self, sql, *args):
        if sql == "COMMIT" and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = self.real.execute(sql, *args)
        if sql == "COMMIT" and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

chain._store._sqlite = Dying(chain._store._sqlite)
facilitator = Facilitator(chain)
facilitator.settle(chain, facilitator.parse(body))
raise SystemExit("still alive")
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_around_the_commit_leaves_the_whole_settlement_or_nothing_of_it(
    tmp_path: Path, moment: str
) -> None:
    import json
    import time

    home = tmp_path / "home"
    home.mkdir()
    payer = Payer()
    payload = payer.authorize(SELLER, 11, time.time())
    command = [sys.executable, "-c", _DIE_AT_COMMIT, str(home), moment]
    process = await asyncio.create_subprocess_exec(
        *command, json.dumps(payment(2, payload)), payer.address, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == -9, errors

    app = create_app(DevnetSettings(galaksio_home=home))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://devnet") as http,
    ):
        devnet = Client(http)
        done = moment == "after"
        assert int(await devnet.rpc("eth_blockNumber"), 16) == (2 if done else 1)
        assert await devnet.used(payload) is done
        assert await devnet.facilitator_nonce() == int(done)
        nonce = payload["authorization"]["nonce"]
        logs = await devnet.rpc("eth_getLogs", {"fromBlock": "0x0", "topics": [None, None, nonce]})
        assert len(logs) == int(done)
        head = await devnet.rpc("eth_getBlockByNumber", "latest", False)
        assert (await devnet.rpc("eth_getTransactionReceipt", head["transactions"][0]))["status"] == "0x1"

        again = await devnet.post("/settle", payment(2, payload))
        assert again["success"] is not done
        assert again.get("errorReason") == (NONCE_USED if done else None)
        assert await devnet.balance(payer.address) == 100_000_000 - 11


def test_every_settlement_that_was_answered_survives_a_kill_in_the_middle_of_a_rush(tmp_path: Path) -> None:
    import time

    home = tmp_path / "home"
    answered: list[tuple[dict[str, Any], str]] = []
    with running(home) as (url, process):
        payer = Payer()
        httpx.post(
            f"{url}/faucet", json={"address": payer.address}, timeout=60, trust_env=False, verify=False
        ).raise_for_status()

        def rush() -> None:
            with httpx.Client(base_url=url, timeout=60, trust_env=False, verify=False) as http:
                while True:
                    payload = payer.authorize(SELLER, 13, time.time())
                    try:
                        settled = http.post("/settle", json=payment(2, payload)).json()
                    except httpx.TransportError:
                        return
                    assert settled["success"], settled
                    answered.append((payload, settled["transaction"]))

        threads = [threading.Thread(target=rush) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(answered) < 25 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        for thread in threads:
            thread.join()

    assert len(answered) >= 25
    with (
        running(home) as (url, _),
        httpx.Client(base_url=url, timeout=60, trust_env=False, verify=False) as http,
    ):
        for payload, transaction in answered:
            call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt", "params": [transaction]}
            assert http.post("/rpc", json=call).json()["result"]["status"] == "0x1"
            nonce = payload["authorization"]["nonce"]
            assert http.get(f"/authorization/{payer.address}/{nonce}").json() == {"used": True}
        sold = int(http.get(f"/balance/{SELLER}").json()["balance"])
        left = int(http.get(f"/balance/{payer.address}").json()["balance"])
        assert sold + left == 100_000_000
        # At most the four settlements in flight were committed without an answer.
        assert 0 <= sold - 13 * len(answered) <= 4 * 13
        fresh = payment(1, payer.authorize(SELLER, 13, time.time()))
        assert http.post("/settle", json=fresh).json()["success"]


def test_a_second_process_on_the_same_file_exits_with_one_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home) as (url, _):
        second = start(home, free_port())
        out, errors = end_of(second)
        assert second.returncode == 1
        assert out == ""
        (sentence,) = errors.splitlines()
        assert sentence.startswith("galaksio-devnet: Another devnet is running on ")
        assert (
            httpx.get(f"{url}/health/ready", timeout=60, trust_env=False, verify=False).json()["blockNumber"]
            == 0
        )


async def test_a_second_devnet_in_the_same_process_is_refused_and_the_first_keeps_its_lock(
    open_devnet: OpenDevnet, tmp_path: Path
) -> None:
    async with open_devnet() as devnet:
        for _ in range(2):
            with pytest.raises(StartupError, match="Another devnet is running"):
                create_app(DevnetSettings(galaksio_home=tmp_path / "home"))
        await devnet.funded()


async def test_keys_are_made_per_installation_and_the_file_is_for_this_user_only(tmp_path: Path) -> None:
    signers = []
    for name in ("one", "two"):
        home = tmp_path / name
        app = create_app(DevnetSettings(galaksio_home=home))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://devnet") as http,
        ):
            signers.append((await http.get("/supported")).json()["signers"]["eip155:*"][0])
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            for file in home.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert signers[0] != signers[1]


def test_a_file_that_is_no_database_or_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    settings = DevnetSettings(galaksio_home=tmp_path)
    settings.state_path.write_bytes(b"my diary" * 1000)
    with pytest.raises(StartupError, match="cannot be used"):
        create_app(settings)
    assert settings.state_path.read_bytes() == b"my diary" * 1000

    settings.state_path.unlink()
    with sqlite3.connect(settings.state_path) as database:
        database.execute("CREATE TABLE chain (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        database.execute("INSERT INTO chain VALUES (?, ?)", (b"galaksio:format", b"99"))
    database.close()
    with pytest.raises(StartupError, match="another version"):
        create_app(settings)
