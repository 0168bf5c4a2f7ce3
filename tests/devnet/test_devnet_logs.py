"""`eth_getLogs`: as web3.py asks it, by the rules of the JSON-RPC specification, and after a restart."""

import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3 import AsyncHTTPProvider, AsyncWeb3, Web3
from web3.exceptions import Web3RPCError

from devnet import rpc_logs
from devnet.abi import artifact
from devnet.log_index import Log, LogFilter, LogIndex
from devnet.store import ChainStore
from tests.devnet.conftest import OpenDevnet
from tests.devnet.support import CHAIN_ID, USDC, Client, FakeClock, Payer, payment, sign

TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
USED = "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()
CANCELED = "0x" + keccak(text="AuthorizationCanceled(address,bytes32)").hex()
ALWAYS = {"fromBlock": "earliest", "toBlock": "latest"}


def word(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


async def settle(devnet: Client, payer: Payer, to: str, now: float) -> tuple[str, dict[str, Any]]:
    """Pays 1 unit; returns the nonce and the transaction's receipt."""
    payload = payer.authorize(to, 1, now)
    settled = await devnet.post("/settle", payment(2, payload))
    assert settled["success"], settled
    receipt = await devnet.rpc("eth_getTransactionReceipt", settled["transaction"])
    return str(payload["authorization"]["nonce"]), receipt


async def logs(devnet: Client, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await devnet.rpc("eth_getLogs", wanted)
    return found


async def error(devnet: Client, *params: Any) -> dict[str, Any]:
    answer = await devnet.post("/rpc", {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": params})
    assert "result" not in answer, answer
    found: dict[str, Any] = answer["error"]
    return found


@pytest.fixture
async def web3(devnet_url: str) -> AsyncIterator[AsyncWeb3[AsyncHTTPProvider]]:
    provider = AsyncHTTPProvider(devnet_url + "/rpc")
    yield AsyncWeb3(provider)
    await provider.disconnect()


async def test_web3_finds_the_transaction_that_used_an_authorization(
    web3: AsyncWeb3[AsyncHTTPProvider], devnet_url: str
) -> None:
    import httpx

    usdc = web3.eth.contract(address=Web3.to_checksum_address(USDC), abi=artifact("DevnetUSDC").abi)
    async with httpx.AsyncClient(base_url=devnet_url, timeout=60, trust_env=False, verify=False) as http:
        devnet = Client(http)
        payer = await devnet.funded()
        nonce, receipt = await settle(devnet, payer, Payer().address, time.time())
        await settle(devnet, payer, Payer().address, time.time())
    found = await usdc.events.AuthorizationUsed().get_logs(
        argument_filters={"authorizer": payer.address, "nonce": nonce}, from_block=0
    )
    assert [event["transactionHash"].to_0x_hex() for event in found] == [receipt["transactionHash"]]
    assert found[0]["args"] == {"authorizer": payer.address, "nonce": bytes.fromhex(nonce[2:])}
    by_payer = await usdc.events.AuthorizationUsed().get_logs(
        argument_filters={"authorizer": payer.address}, from_block=0
    )
    assert len(by_payer) == 2
    nobody = await usdc.events.AuthorizationUsed().get_logs(
        argument_filters={"authorizer": Payer().address, "nonce": nonce}, from_block=0
    )
    assert len(nobody) == 0
    none_canceled = await usdc.events.AuthorizationCanceled().get_logs(
        argument_filters={"authorizer": payer.address, "nonce": nonce}, from_block=0
    )
    assert len(none_canceled) == 0


async def test_web3_finds_a_canceled_authorization(
    web3: AsyncWeb3[AsyncHTTPProvider], devnet_url: str
) -> None:
    usdc = web3.eth.contract(address=Web3.to_checksum_address(USDC), abi=artifact("DevnetUSDC").abi)
    payer, nonce = Payer(), os.urandom(32)
    fields = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
    message = {"authorizer": payer.address, "nonce": nonce}
    signature = sign(payer.account, "CancelAuthorization", fields, message)
    cancel = usdc.get_function_by_signature("cancelAuthorization(address,bytes32,bytes)")
    data = cancel(payer.address, nonce, signature)._encode_transaction_data()
    raw = payer.account.sign_transaction(
        {"chainId": CHAIN_ID, "nonce": 0, "gas": 200_000, "gasPrice": 0, "value": 0, "to": USDC, "data": data}
    ).raw_transaction
    sent = await web3.eth.send_raw_transaction(raw)
    found = await usdc.events.AuthorizationCanceled().get_logs(argument_filters=message, from_block=0)
    assert [event["transactionHash"] for event in found] == [sent]
    used = await usdc.events.AuthorizationUsed().get_logs(argument_filters=message, from_block=0)
    assert len(used) == 0


async def test_web3_reports_a_filter_that_is_refused(web3: AsyncWeb3[AsyncHTTPProvider]) -> None:
    with pytest.raises(Web3RPCError, match="unknown block"):
        await web3.eth.get_logs({"blockHash": "0x" + "ab" * 32})  # type: ignore[typeddict-item]


async def test_topics_are_positions_with_nulls_and_alternatives(devnet: Client, clock: FakeClock) -> None:
    first, second, seller = await devnet.funded(), await devnet.funded(), Payer().address
    nonce_1, receipt_1 = await settle(devnet, first, seller, clock())
    nonce_2, receipt_2 = await settle(devnet, second, seller, clock())
    used_1, used_2 = (
        next(log for log in receipt["logs"] if log["topics"][0] == USED) for receipt in (receipt_1, receipt_2)
    )
    moved_1, moved_2 = (
        next(log for log in receipt["logs"] if log["topics"][0] == TRANSFER)
        for receipt in (receipt_1, receipt_2)
    )
    assert used_1["topics"] == [USED, word(first.address), nonce_1]

    async def found(*topics: Any) -> list[dict[str, Any]]:
        return await logs(devnet, **ALWAYS, topics=list(topics))

    assert await found(USED) == [used_1, used_2]
    assert await found([USED]) == await found(USED, None) == await found(USED, [], None) == [used_1, used_2]
    assert await found(USED, word(first.address)) == [used_1]
    assert await found(USED, [word(first.address), word(second.address)]) == [used_1, used_2]
    assert await found(USED, word(first.address), nonce_2) == []
    assert await found(None, None, nonce_2) == [used_2]
    assert await found(None, None, nonce_2.upper().replace("0X", "0x")) == [used_2]
    assert await found(None, None, [nonce_1, nonce_2]) == [used_1, used_2]
    assert await found([CANCELED, TRANSFER], None, word(seller)) == [moved_1, moved_2]
    assert await found(CANCELED) == []
    # No log of the token has four topics.
    assert await found(USED, None, None, None) == []
    assert [log["blockNumber"] for log in await found()] == ["0x1", "0x2", "0x3", "0x3", "0x4", "0x4"]


async def test_the_address_is_one_or_several_or_anybody(devnet: Client, clock: FakeClock) -> None:
    # PUSH0 PUSH0 LOG0: a log with nothing in it.
    other = await devnet.deploy(bytes.fromhex("5f5fa0"))
    account = Payer().account
    call = {"chainId": CHAIN_ID, "nonce": 0, "gas": 50_000, "gasPrice": 0, "value": 0, "to": other}
    raw = "0x" + bytes(account.sign_transaction(call).raw_transaction).hex()
    sent = await devnet.rpc("eth_sendRawTransaction", raw)
    await devnet.funded()
    (bare,) = await logs(devnet, **ALWAYS, address=other.lower())
    assert (bare["address"], bare["topics"], bare["data"]) == (other, [], "0x")
    assert bare["transactionHash"] == sent
    assert [log["address"] for log in await logs(devnet, **ALWAYS, address=[USDC, other])] == [other, USDC]
    assert [log["address"] for log in await logs(devnet, **ALWAYS, address=USDC)] == [USDC]
    assert len(await logs(devnet, **ALWAYS, address=[])) == 2
    assert await logs(devnet, **ALWAYS, address=Payer().address) == []
    # A position takes any topic, and a log without topics has none there.
    assert await logs(devnet, **ALWAYS, address=other, topics=[None]) == []


async def test_the_range_is_the_newest_block_unless_told_otherwise(devnet: Client) -> None:
    for _ in range(4):
        await devnet.funded()

    async def blocks(**wanted: Any) -> list[int]:
        return [int(log["blockNumber"], 16) for log in await logs(devnet, **wanted)]

    assert await blocks() == [4]
    assert await blocks(fromBlock="latest") == await blocks(fromBlock="pending", toBlock="safe") == [4]
    assert await blocks(fromBlock="0x0") == await blocks(fromBlock="earliest") == [1, 2, 3, 4]
    assert await blocks(fromBlock="0x2", toBlock="0x3") == [2, 3]
    assert await blocks(fromBlock="0x3", toBlock="0x" + "f" * 64) == [3, 4]
    assert await blocks(fromBlock="earliest", toBlock="earliest") == []
    assert await blocks(fromBlock="0x5") == await blocks(fromBlock="0x5", toBlock="0x9") == []
    header = await devnet.rpc("eth_getBlockByNumber", "0x3", False)
    assert await blocks(blockHash=header["hash"]) == [3]
    assert await blocks(blockHash=header["hash"], address=Payer().address) == []


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ([], -32602),
        (["latest"], -32602),
        ([{}, {}], -32602),
        ([{"fromBlock": "0x2", "toBlock": "0x1"}], -32602),
        ([{"toBlock": "0x0"}], -32602),
        ([{"fromBlock": 0}], -32602),
        ([{"fromBlock": "yesterday"}], -32602),
        ([{"toBlock": ["latest"]}], -32602),
        ([{"blockHash": "0x12"}], -32602),
        ([{"blockHash": "0x" + "ab" * 32}], -32000),
        ([{"blockHash": "0x" + "ab" * 32, "fromBlock": "0x0"}], -32602),
        ([{"address": "0x12"}], -32602),
        ([{"address": [None]}], -32602),
        ([{"address": [USDC] * 1001}], -32602),
        ([{"topics": TRANSFER}], -32602),
        ([{"topics": {"0": TRANSFER}}], -32602),
        ([{"topics": [TRANSFER[:-2]]}], -32602),
        ([{"topics": [[[TRANSFER]]]}], -32602),
        ([{"topics": [[None]]}], -32602),
        ([{"topics": [None] * 5}], -32602),
        ([{"topics": [[TRANSFER] * 1001]}], -32602),
    ],
)
async def test_a_filter_that_cannot_be_answered_is_an_error(
    devnet: Client, wanted: list[Any], code: int
) -> None:
    await devnet.funded()
    await devnet.funded()
    assert (await error(devnet, *wanted))["code"] == code


async def test_too_many_results_or_blocks_are_refused_and_never_cut_short(
    devnet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    payers = [await devnet.funded() for _ in range(4)]
    monkeypatch.setattr(rpc_logs, "MAX_RESULTS", 3)
    refused = await error(devnet, ALWAYS)
    assert refused == {"code": -32005, "message": "query returned more than 3 results"}
    assert len(await logs(devnet, fromBlock="0x2")) == 3

    monkeypatch.setattr(rpc_logs, "MAX_BLOCKS", 3)
    assert len(await logs(devnet, fromBlock="0x2")) == 3
    refused = await error(devnet, {"fromBlock": "0x1", "topics": [TRANSFER, None]})
    assert (refused["code"], "at most 3 blocks" in refused["message"]) == (-32005, True)
    # A recipient is indexed: the number of blocks costs nothing.
    assert len(await logs(devnet, **ALWAYS, topics=[TRANSFER, None, word(payers[0].address)])) == 1


@pytest.mark.parametrize("kept_blocks", [None, 2])
async def test_a_state_file_from_before_the_log_index_is_caught_up_when_it_is_opened(
    open_devnet: OpenDevnet, clock: FakeClock, tmp_path: Path, kept_blocks: int | None
) -> None:
    async with open_devnet() as devnet:
        payer = await devnet.funded()
        nonces = [(await settle(devnet, payer, Payer().address, clock()))[0] for _ in range(3)]
        before = await logs(devnet, **ALWAYS)
    assert len(before) == 7
    with sqlite3.connect(tmp_path / "home" / "devnet.sqlite") as database:
        if kept_blocks is None:
            # As the version without the index wrote it.
            database.execute("DROP TABLE log")
            database.execute("DROP TABLE log_head")
        else:
            # As that version leaves it after it went on with a newer file.
            database.execute("DELETE FROM log WHERE block > ?", (kept_blocks,))
            database.execute("UPDATE log_head SET block = ?", (kept_blocks,))
    database.close()
    async with open_devnet() as devnet:
        assert await logs(devnet, **ALWAYS) == before
        assert len(await logs(devnet, **ALWAYS, topics=[None, None, nonces[2]])) == 1
        nonce, receipt = await settle(devnet, payer, Payer().address, clock())
        assert await logs(devnet, **ALWAYS) == before + receipt["logs"]
    async with open_devnet() as devnet:
        assert await logs(devnet, **ALWAYS) == before + receipt["logs"]
        assert len(await logs(devnet, **ALWAYS, topics=[USED, None, nonce])) == 1


async def test_a_transaction_that_reverts_leaves_no_log(devnet: Client) -> None:
    payer = await devnet.funded()
    before = await logs(devnet, **ALWAYS)
    data = "0xa9059cbb" + word(Payer().address)[2:] + "f" * 64  # transfer of more than there is
    call = {"chainId": CHAIN_ID, "nonce": 0, "gas": 90_000, "gasPrice": 0, "value": 0, "to": USDC}
    raw = "0x" + bytes(payer.account.sign_transaction({**call, "data": data}).raw_transaction).hex()
    sent = await devnet.rpc("eth_sendRawTransaction", raw)
    assert (await devnet.rpc("eth_getTransactionReceipt", sent))["status"] == "0x0"
    assert await logs(devnet, **ALWAYS) == before


@pytest.mark.parametrize(
    ("topics", "index"),
    [
        ([[b"t"], [b"payer"], [b"nonce"]], "log_topic1 (topic1=? AND topic2=?"),
        ([[b"t"], [b"payer"]], "log_topic1 (topic1=?"),
        ([[b"t"], [], [b"nonce"]], "log_topic2 (topic2=?"),
        ([[], [], [], [b"x", b"y"]], "log_topic3 (topic3=?"),
    ],
)
def test_an_indexed_argument_is_looked_up_and_not_searched_for(
    tmp_path: Path, topics: list[list[bytes]], index: str
) -> None:
    store = ChainStore(tmp_path / "devnet.sqlite")
    found = LogIndex(store)
    for block in range(1, 101):
        found.add(block, [Log(block, 0, b"b", b"t", b"a", b"", (b"t", b"payer", b"%d" % block, b"x"))])
    store.commit()
    asked: list[tuple[str, tuple[Any, ...]]] = []
    read = store.read
    store.read = lambda sql, values: asked.append((sql, values)) or read(sql, values)  # type: ignore
    found.find(LogFilter(0, 100, [b"a"], topics), 10)
    ((sql, values),) = asked
    plan = "\n".join(str(row[3]) for row in read("EXPLAIN QUERY PLAN " + sql, values))
    store.close()
    assert f"SEARCH log USING INDEX {index}" in plan, plan
    assert "SCAN" not in plan
