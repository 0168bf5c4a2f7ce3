"""web3.py over real HTTP, and the JSON-RPC rules that web3.py does not exercise."""

import os
from typing import Any

import httpx
import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound, Web3RPCError

from devnet.abi import artifact
from devnet.evm import MAX_TX_GAS
from tests.devnet.support import CHAIN_ID, USDC, Client, FakeClock, Payer, payment


@pytest.fixture
def web3(devnet_url: str) -> Web3:
    return Web3(Web3.HTTPProvider(devnet_url + "/rpc"))


@pytest.fixture
def usdc(web3: Web3) -> Any:
    return web3.eth.contract(address=Web3.to_checksum_address(USDC), abi=artifact("DevnetUSDC").abi)


@pytest.fixture
def payer(devnet_url: str) -> Payer:
    made = Payer()
    httpx.post(
        f"{devnet_url}/faucet", json={"address": made.address}, timeout=60, trust_env=False, verify=False
    ).raise_for_status()
    return made


def test_web3_reads_the_chain(web3: Web3, usdc: Any, payer: Payer) -> None:
    assert web3.is_connected()
    assert web3.eth.chain_id == CHAIN_ID
    assert web3.net.version == str(CHAIN_ID)
    assert web3.eth.gas_price == 0
    assert web3.eth.get_balance(payer.address) == 0
    assert bytes(web3.eth.get_code(usdc.address)) == artifact("DevnetUSDC").code
    assert usdc.functions.balanceOf(payer.address).call() == 100_000_000
    assert usdc.functions.authorizationState(payer.address, os.urandom(32)).call() is False
    slot_of_supply = artifact("DevnetUSDC").slots["totalSupply"]
    assert int.from_bytes(web3.eth.get_storage_at(usdc.address, slot_of_supply), "big") == 10**18


def test_web3_sees_a_settled_authorization(web3: Web3, usdc: Any, payer: Payer, devnet_url: str) -> None:
    import time

    payload = payer.authorize(Payer().address, 3, time.time())
    settled = httpx.post(
        f"{devnet_url}/settle", json=payment(2, payload), timeout=60, trust_env=False, verify=False
    ).json()
    assert settled["success"], settled
    nonce = payload["authorization"]["nonce"]
    assert usdc.functions.authorizationState(payer.address, nonce).call() is True
    receipt = web3.eth.get_transaction_receipt(settled["transaction"])
    (event,) = usdc.events.AuthorizationUsed().process_receipt(receipt, errors=_discard())
    assert event["args"]["authorizer"] == payer.address


def _discard() -> Any:
    from web3.logs import DISCARD

    return DISCARD


@pytest.mark.parametrize(
    "fees", [{}, {"gasPrice": 0}, {"gasPrice": 0, "accessList": []}], ids=["type 2", "legacy", "type 1"]
)
def test_web3_sends_a_raw_signed_transfer_and_gets_its_receipt(
    web3: Web3, usdc: Any, payer: Payer, fees: dict[str, Any]
) -> None:
    to = Payer().address
    transaction = usdc.functions.transfer(to, 1_500_000).build_transaction(
        {"from": payer.address, "nonce": web3.eth.get_transaction_count(payer.address), **fees}
    )
    assert 40_000 < transaction["gas"] < 80_000
    raw = payer.account.sign_transaction(transaction).raw_transaction
    transaction_hash = web3.eth.send_raw_transaction(raw)
    receipt = web3.eth.wait_for_transaction_receipt(transaction_hash, timeout=30)

    assert receipt["status"] == 1
    assert receipt["from"] == payer.address
    assert receipt["gasUsed"] <= transaction["gas"]
    (event,) = usdc.events.Transfer().process_receipt(receipt)
    assert dict(event["args"]) == {"from": payer.address, "to": to, "value": 1_500_000}
    assert usdc.functions.balanceOf(to).call() == 1_500_000
    assert web3.eth.get_transaction_count(payer.address) == 1

    mined = web3.eth.get_transaction(transaction_hash)
    assert (mined["from"], mined["to"], mined["nonce"]) == (payer.address, usdc.address, 0)
    block = web3.eth.get_block(receipt["blockNumber"], full_transactions=True)
    assert block["hash"] == receipt["blockHash"]
    assert [tx["hash"] for tx in block["transactions"]] == [transaction_hash]
    assert web3.eth.get_block("latest")["number"] >= block["number"]
    before = usdc.functions.balanceOf(to).call(block_identifier=block["number"] - 1)
    assert before == 0


def test_a_revert_raises_contract_logic_error_with_the_reason(web3: Web3, usdc: Any, payer: Payer) -> None:
    transfer = usdc.functions.transfer(Payer().address, 100_000_001)
    with pytest.raises(ContractLogicError, match="ERC20: transfer amount exceeds balance"):
        transfer.call({"from": payer.address})
    with pytest.raises(ContractLogicError, match="ERC20: transfer amount exceeds balance"):
        transfer.estimate_gas({"from": payer.address})


def test_a_transaction_that_reverts_is_mined_as_failed(web3: Web3, usdc: Any, payer: Payer) -> None:
    transaction = usdc.functions.transfer(Payer().address, 100_000_001).build_transaction(
        {"from": payer.address, "nonce": 0, "gas": 100_000}
    )
    sent = web3.eth.send_raw_transaction(payer.account.sign_transaction(transaction).raw_transaction)
    receipt = web3.eth.wait_for_transaction_receipt(sent, timeout=30)
    assert (receipt["status"], receipt["logs"]) == (0, [])
    assert usdc.functions.balanceOf(payer.address).call() == 100_000_000


def test_a_contract_can_be_deployed_and_called(web3: Web3) -> None:
    account = Account.create()
    # PUSH1 42 PUSH0 MSTORE PUSH1 32 PUSH0 RETURN, behind a constructor that returns these 8 bytes.
    runtime = bytes.fromhex("602a5f5260205ff3")
    init = b"\x67" + runtime + bytes.fromhex("5f5260086018f3")
    transaction = {"chainId": CHAIN_ID, "nonce": 0, "gas": 200_000, "gasPrice": 0, "value": 0, "data": init}
    sent = web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
    receipt = web3.eth.wait_for_transaction_receipt(sent, timeout=30)
    assert receipt["status"] == 1
    address = receipt["contractAddress"]
    assert address is not None
    assert bytes(web3.eth.get_code(address)) == runtime
    assert int.from_bytes(web3.eth.call({"to": address}), "big") == 42


def test_what_is_in_no_block_is_not_found(web3: Web3) -> None:
    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction_receipt(os.urandom(32))
    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction(os.urandom(32))
    with pytest.raises(BlockNotFound):
        web3.eth.get_block(10**9)
    with pytest.raises(Web3RPCError, match="header not found"):
        web3.eth.get_balance(Payer().address, 10**9)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nonce": 1}, "nonce too high"),
        ({"chainId": 8453}, "invalid chain id"),
        ({"gas": MAX_TX_GAS + 1}, "gas limit over"),
        ({"gas": 21_000}, "gas"),
        ({"value": 1}, "balance|insufficient|afford"),
    ],
)
def test_a_transaction_that_cannot_be_in_a_block_is_refused_and_changes_nothing(
    web3: Web3, usdc: Any, payer: Payer, changes: dict[str, int], text: str
) -> None:
    data = usdc.encode_abi("transfer", [Payer().address, 1])
    transaction = {
        "chainId": CHAIN_ID,
        "nonce": 0,
        "gas": 100_000,
        "gasPrice": 0,
        "value": 0,
        "to": usdc.address,
        "data": data,
        **changes,
    }
    head = web3.eth.block_number
    with pytest.raises(Web3RPCError, match=f"(?i){text}"):
        web3.eth.send_raw_transaction(payer.account.sign_transaction(transaction).raw_transaction)
    assert web3.eth.block_number == head
    assert web3.eth.get_transaction_count(payer.address) == 0


def test_the_same_transaction_twice_is_mined_once(web3: Web3, usdc: Any, payer: Payer) -> None:
    transaction = usdc.functions.transfer(Payer().address, 1).build_transaction(
        {"from": payer.address, "nonce": 0, "gas": 100_000}
    )
    raw = payer.account.sign_transaction(transaction).raw_transaction
    web3.eth.send_raw_transaction(raw)
    with pytest.raises(Web3RPCError, match="nonce too low"):
        web3.eth.send_raw_transaction(raw)
    assert usdc.functions.balanceOf(payer.address).call() == 100_000_000 - 1


async def ask(devnet: Client, method: str, *params: Any) -> Any:
    """The result, or None when the devnet is still working."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await devnet.http.post("/rpc", json=call)
    return answer.json()["result"] if answer.json().get("code") != "devnet_timeout" else None


async def test_a_block_full_of_gas_leaves_the_base_fee_at_zero(devnet: Client, clock: FakeClock) -> None:
    payer = Payer()
    # JUMPDEST PUSH0 JUMP: burns every unit of gas it is given.
    transaction = {
        "chainId": CHAIN_ID,
        "nonce": 0,
        "gas": MAX_TX_GAS,
        "gasPrice": 0,
        "value": 0,
        "data": "0x5b5f56",
    }
    signed = payer.account.sign_transaction(transaction)
    sent = "0x" + bytes(signed.hash).hex()
    # On a busy machine it takes longer than the devnet keeps its clients waiting; it goes on all the same.
    if (
        said := await ask(devnet, "eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    ) is not None:
        assert said == sent
    while (receipt := await ask(devnet, "eth_getTransactionReceipt", sent)) is None:
        pass
    assert (receipt["status"], int(receipt["gasUsed"], 16)) == ("0x0", MAX_TX_GAS)
    funded = await devnet.funded()
    assert (await devnet.post("/settle", payment(2, funded.authorize(USDC, 1, clock()))))["success"]
    assert (await devnet.rpc("eth_getBlockByNumber", "latest", False))["baseFeePerGas"] == "0x0"


async def test_a_batch_is_answered_in_order_and_a_notification_is_not_answered(devnet: Client) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": "two", "method": "eth_mine", "params": []},
        7,
        {"jsonrpc": "2.0", "id": 3, "method": "net_version"},
    ]
    first, second, third, fourth = await devnet.post("/rpc", batch)
    assert first == {"jsonrpc": "2.0", "id": 1, "result": hex(CHAIN_ID)}
    assert (second["id"], second["error"]["code"]) == ("two", -32601)
    assert (third["id"], third["error"]["code"]) == (None, -32600)
    assert fourth["result"] == str(CHAIN_ID)
    notification = await devnet.http.post("/rpc", json=batch[1])
    assert (notification.status_code, notification.content) == (204, b"")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b"7", b"null", b'"eth_chainId"', b"[" * 50_000, b"[1," * 101]
)
async def test_a_body_that_is_no_request_is_answered_400_with_an_error_object(
    devnet: Client, body: bytes
) -> None:
    response = await devnet.http.post("/rpc", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] in (-32700, -32600)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", [USDC, "yesterday"]),
        ("eth_getBalance", [USDC, -1]),
        ("eth_getBalance", [USDC, "latest", "more"]),
        ("eth_getBalance", {"address": USDC}),
        ("eth_call", ["latest"]),
        ("eth_call", [{"to": "nobody"}, "latest"]),
        ("eth_call", [{"to": USDC, "data": "0x123"}, "latest"]),
        ("eth_call", [{"to": USDC, "value": "ten"}, "latest"]),
        ("eth_getTransactionReceipt", ["0x12"]),
        ("eth_getTransactionReceipt", [None]),
        ("eth_getBlockByNumber", [[], False]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0x02c0"]),
        ("eth_sendRawTransaction", ["0xff00"]),
        ("eth_sendRawTransaction", [7]),
        ("eth_getStorageAt", [USDC]),
    ],
)
async def test_wrong_params_are_error_32602(devnet: Client, method: str, params: Any) -> None:
    answer = await devnet.post("/rpc", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert answer["error"]["code"] == -32602, answer
