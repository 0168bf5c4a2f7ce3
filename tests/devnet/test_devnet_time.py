"""The chain keeps right time: after an idle hour, in a busy second, and when the clock is set back."""

import pytest

from tests.devnet.support import USDC, Client, FakeClock, Payer, payment

SELLER = Payer().address


async def _block_time(devnet: Client, transaction: str) -> int:
    receipt = await devnet.rpc("eth_getTransactionReceipt", transaction)
    block = await devnet.rpc("eth_getBlockByNumber", receipt["blockNumber"], False)
    return int(block["timestamp"], 16)


@pytest.mark.parametrize("version", [1, 2])
async def test_after_an_idle_hour_a_fresh_authorization_is_verified_and_settled_in_the_present(
    devnet: Client, clock: FakeClock, version: int
) -> None:
    payer = await devnet.funded()
    clock.now += 3600
    # Valid only now: at the time of the last block it would be "not yet valid".
    body = payment(version, payer.authorize(SELLER, 7, clock(), valid_after=int(clock()) - 5))
    assert await devnet.post("/verify", body) == {"isValid": True, "payer": payer.address}
    settled = await devnet.post("/settle", body)
    assert settled["success"], settled
    assert await _block_time(devnet, settled["transaction"]) == int(clock())


async def test_after_an_idle_hour_the_contract_itself_refuses_what_expired_meanwhile(
    devnet: Client, clock: FakeClock
) -> None:
    payer = await devnet.funded()
    payload = payer.authorize(SELLER, 7, clock())
    call = _transfer_call(payload)
    assert "result" in await devnet.post("/rpc", call)
    clock.now += 3600
    error = (await devnet.post("/rpc", call))["error"]
    assert error["message"] == "execution reverted: FiatTokenV2: authorization is expired"


async def test_ninety_settles_within_three_seconds_succeed_and_blocks_never_run_ahead(
    devnet: Client, clock: FakeClock
) -> None:
    payers = [await devnet.funded() for _ in range(90)]
    start = clock.now
    times = []
    for index, payer in enumerate(payers):
        clock.now = start + 3 * index / 90
        body = payment(1 + index % 2, payer.authorize(SELLER, 7, clock(), valid_before=int(clock()) + 10))
        assert (await devnet.post("/verify", body))["isValid"]
        settled = await devnet.post("/settle", body)
        assert settled["success"], settled
        times.append(await _block_time(devnet, settled["transaction"]))
        assert times[-1] == int(clock())
    assert times == sorted(times)
    assert sorted(set(times)) == [int(start), int(start) + 1, int(start) + 2]
    assert min(times.count(second) for second in set(times)) >= 25
    assert await devnet.balance(SELLER) == 90 * 7


async def test_a_clock_that_is_set_back_never_makes_a_block_older_than_its_parent(
    devnet: Client, clock: FakeClock
) -> None:
    payer = await devnet.funded()
    last = int(clock())
    clock.now -= 30
    settled = await devnet.post("/settle", payment(2, payer.authorize(SELLER, 7, clock())))
    assert settled["success"], settled
    assert await _block_time(devnet, settled["transaction"]) == last


def _transfer_call(payload: dict[str, dict[str, str]]) -> dict[str, object]:
    from devnet.abi import artifact, encode_contract_call

    authorization = payload["authorization"]
    signature = bytes.fromhex(str(payload["signature"])[2:])
    overloads = [item for item in artifact("DevnetUSDC").abi if item["name"] == "transferWithAuthorization"]
    split = next([item] for item in overloads if len(item["inputs"]) == 9)
    data = encode_contract_call(
        split,
        "transferWithAuthorization",
        authorization["from"],
        authorization["to"],
        int(authorization["value"]),
        int(authorization["validAfter"]),
        int(authorization["validBefore"]),
        bytes.fromhex(authorization["nonce"][2:]),
        signature[64],
        signature[:32],
        signature[32:64],
    )
    call = {"to": USDC, "data": "0x" + data.hex()}
    return {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
