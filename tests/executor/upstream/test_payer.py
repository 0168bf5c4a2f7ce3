"""Paying other people's 402s with a key of one's own, on a real chain, to the unit."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse

from executor.upstream.base import FilePart, Order
from executor.upstream.errors import (
    UpstreamLost,
    UpstreamOverBudget,
    UpstreamRefused,
    UpstreamResting,
    UpstreamUnreachable,
)
from tests.executor.upstream.paying import create, output, paying, refusing, rows, run, spending
from tests.support.services import Stack
from tests.support.wallets import Wallet, new_wallet
from tests.upstream import Upstreams
from tests.upstream.openx402 import cid_of

FUNDS = 100_000_000


async def test_v1_and_v2_are_paid_to_the_unit_and_journaled(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        made = await payer.send(create(upstreams), spending(provider="xcache"))
        ran = await payer.send(run(upstreams), spending())
    assert (made.status, ran.status, output(ran)) == (200, 200, "42\n")
    assert made.receipt is not None and ran.receipt is not None
    assert (made.receipt.x402_version, ran.receipt.x402_version) == (1, 2)
    shops = upstreams.xcache, upstreams.merit_systems
    assert chain.balance(wallet.address) == FUNDS - sum(shop.price for shop in shops)
    for shop, answer, row in zip(shops, (made, ran), await rows(tmp_path), strict=True):
        assert chain.balance(shop.pay_to) == shop.price
        (settled,) = shop.settled
        assert answer.receipt is not None
        assert (answer.receipt.transaction, answer.receipt.amount_atomic) == (
            settled.transaction,
            shop.price,
        )
        assert (row["state"], row["transaction_hash"], row["nonce"]) == (
            "paid",
            settled.transaction,
            settled.nonce,
        )
        assert (row["amount_atomic"], row["amount"]) == (shop.price, str(shop.price))
        assert row["pay_to"] == shop.pay_to.lower()


async def test_what_asks_for_no_payment_costs_nothing(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.xcache.reply = lambda _: JSONResponse({"free": True}, 201)
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answer = await payer.send(create(upstreams), spending())
    assert (answer.status, answer.json(), answer.receipt) == (201, {"free": True}, None)
    assert await rows(tmp_path) == []


async def test_a_file_is_sent_from_the_disk_as_a_form_twice_the_same(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    content = os.urandom(3_000_001)
    path = tmp_path / "content"
    path.write_bytes(content)
    part = FilePart("file", path, 'odd "name".bin', "application/octet-stream")
    order = Order("POST", upstreams.openx402.url + "/pin/file", file=part, fields={"note": "größe"})
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answer = await payer.send(order, spending(provider="openx402"))
    assert answer.json()["ipfsHash"] == cid_of(content)
    first, second = upstreams.openx402.requests
    assert first.body == second.body
    assert "größe".encode() in first.body and b'filename="odd %22name%22.bin"' in first.body
    assert upstreams.openx402.pinned == {cid_of(content): content}


async def test_a_step_of_a_job_is_paid_once_however_often_it_is_sent(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.remembers = True
    for _ in range(2):  # the second time as after a restart
        async with paying(tmp_path, wallet, chain.devnet) as payer:
            for _ in range(2):
                assert output(await payer.send(run(upstreams), spending())) == "42\n"
    assert len({asked.nonce for asked in upstreams.merit_systems.paid_requests}) == 1
    assert chain.balance(wallet.address) == FUNDS - upstreams.merit_systems.price
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        await payer.send(run(upstreams, step="another"), spending())
        await payer.send(run(upstreams), spending("another job"))
    assert chain.balance(wallet.address) == FUNDS - 3 * upstreams.merit_systems.price


async def test_the_answer_that_was_lost_after_the_payment_comes_with_the_same_payment(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.remembers = True
    upstreams.merit_systems.cut_after_payment = 2
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        assert output(await payer.send(run(upstreams), spending())) == "42\n"
    assert len(upstreams.merit_systems.paid_requests) == 3
    assert len(upstreams.merit_systems.settled) == 1
    assert chain.balance(wallet.address) == FUNDS - upstreams.merit_systems.price


async def test_a_payment_goes_out_three_times_at_most_and_then_counts_as_unknown(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.remembers = True
    upstreams.merit_systems.cut_after_payment = 100
    upstreams.merit_systems.reply = lambda asked: (
        PlainTextResponse("", 503)
        if asked.payment and len(upstreams.merit_systems.paid_requests) > 1
        else None
    )
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answer = await payer.send(run(upstreams), spending())
        assert (answer.status, answer.receipt is not None) == (503, True)
    assert len(upstreams.merit_systems.paid_requests) == 3
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]


async def test_a_provider_that_fails_after_it_took_the_money_leaves_a_payment_that_counts(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    shop.fail_after_payment = True
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answer = await payer.send(run(upstreams), spending(limit=shop.price))
        assert (answer.status, answer.receipt is None) == (500, False)
        with pytest.raises(UpstreamOverBudget, match="are spent"):
            await payer.send(create(upstreams), spending(provider="xcache", limit=shop.price))
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]
    assert chain.balance(shop.pay_to) == shop.price


async def test_a_provider_that_dies_while_it_is_paid_leaves_a_payment_that_counts(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.die_when_paid = True
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises((UpstreamLost, UpstreamUnreachable)):
            await payer.send(run(upstreams), spending())
        assert payer.means().spendable_atomic <= 1_000_000
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"]


async def test_a_provider_that_is_gone_is_asked_thrice_and_costs_nothing(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.die()
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamUnreachable):
            await payer.send(run(upstreams), spending())
    assert await rows(tmp_path) == []


async def test_a_payment_that_was_never_sent_is_given_up_and_frees_the_job_for_the_next_provider(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems

    async def gone(*_: object) -> None:
        raise UpstreamUnreachable("gone")

    async with paying(tmp_path, wallet, chain.devnet) as payer:
        sent = payer._wire.send

        async def cut_off_before_the_payment(request: object, auth: object = None) -> object:
            pay = auth._pay  # type: ignore[attr-defined]

            async def pay_and_lose_the_way(response: object) -> object:
                auth.payment = await pay(response)  # type: ignore[attr-defined]
                raise UpstreamUnreachable("gone")

            if auth.payment is not None:  # type: ignore[attr-defined]
                await gone()
            auth._pay = pay_and_lose_the_way  # type: ignore[attr-defined]
            return await sent(request, auth)  # type: ignore[arg-type]

        payer._wire.send = cut_off_before_the_payment  # type: ignore[method-assign, assignment]
        with pytest.raises(UpstreamUnreachable):
            await payer.send(run(upstreams), spending(limit=shop.price))
        payer._wire.send = sent  # type: ignore[method-assign]
        assert [row["state"] for row in await rows(tmp_path)] == ["unused"]
        assert output(await payer.send(run(upstreams), spending(limit=shop.price))) == "42\n"
    unused, paid = await rows(tmp_path)
    assert (unused["state"], paid["state"]) == ("unused", "paid")
    assert unused["nonce"] not in {asked.nonce for asked in shop.requests}


async def test_a_second_402_is_not_paid_again(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.xcache.answer_402_again = True
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="asks for another"):
            await payer.send(create(upstreams), spending())
    assert len(upstreams.xcache.paid_requests) == 1
    (row,) = await rows(tmp_path)
    assert (row["state"], chain.balance(wallet.address)) == ("unknown", FUNDS)


async def test_whoever_asks_for_more_the_second_time_gets_no_more(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.xcache

    def dearer(asked: object) -> None:
        shop.price = 900_000 if shop.requests[-1].payment else shop.price

    shop.reply = dearer
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused):
            await payer.send(create(upstreams), spending())
    assert [row["amount_atomic"] for row in await rows(tmp_path)] == [10_000]
    assert chain.balance(wallet.address) == FUNDS


async def test_a_lie_in_a_receipt_changes_nothing_but_its_own_credit(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.receipt = {"success": False, "transaction": ""}
    upstreams.xcache.receipt = {"payer": new_wallet().address}
    upstreams.openx402.receipt = {"transaction": "0x" + "z" * 64}
    pin = Order("POST", upstreams.openx402.url + "/pin/json", json={"a": 1})
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answers = [
            await payer.send(run(upstreams), spending()),
            await payer.send(create(upstreams), spending(provider="xcache")),
            await payer.send(pin, spending(provider="openx402")),
        ]
    for answer, row in zip(answers, await rows(tmp_path), strict=True):
        assert answer.receipt is not None and answer.receipt.transaction is None
        assert (row["state"], row["reason"]) == ("paid", "its receipt does not hold")


async def test_no_receipt_at_all_is_no_fault(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.receipt_header = False
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        answer = await payer.send(run(upstreams), spending())
    assert answer.receipt is not None and answer.receipt.transaction is None
    assert [(row["state"], row["reason"]) for row in await rows(tmp_path)] == [("paid", None)]


@pytest.mark.parametrize("extra", [{"name": "USD Coin", "version": "2"}, {"name": "USDC", "version": "1"}])
async def test_a_token_that_is_told_otherwise_than_it_is_is_not_paid_in(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, extra: dict[str, str]
) -> None:
    upstreams.merit_systems.extra = extra
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="domain"):
            await payer.send(run(upstreams), spending())
    assert await rows(tmp_path) == []


@pytest.mark.parametrize("whom", ["zero", "ourselves"])
async def test_nobody_and_we_ourselves_are_not_paid(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, whom: str
) -> None:
    upstreams.merit_systems.pay_to = "0x" + "0" * 40 if whom == "zero" else wallet.address.lower()
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="nobody" if whom == "zero" else "ourselves"):
            await payer.send(run(upstreams), spending())
    assert await rows(tmp_path) == []


async def test_an_authorization_is_good_for_ten_minutes_at_most(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.max_timeout_s = 10**6
    async with paying(tmp_path, wallet, chain.devnet, lambda: 2_000_000_000.5) as payer:
        with pytest.raises(UpstreamRefused):  # it is of the future, for the chain
            await payer.send(run(upstreams), spending())
    (row,) = await rows(tmp_path)
    assert row["valid_before"] == 2_000_000_000 + 600


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_redirect_is_not_followed(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, when: str
) -> None:
    shop, other = upstreams.merit_systems, upstreams.openx402
    elsewhere = RedirectResponse(other.url + "/pin/json", 307)
    shop.reply = lambda asked: elsewhere if when == "before" or asked.payment else None
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="redirect"):
            await payer.send(run(upstreams), spending())
    assert other.requests == []
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"] * (when == "after")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_without_end_is_cut_off(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, when: str
) -> None:
    async def gigabytes() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0.001)

    shop = upstreams.merit_systems
    shop.reply = lambda asked: StreamingResponse(gigabytes()) if when == "before" or asked.payment else None
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="over 1 MB"):
            await payer.send(run(upstreams), spending())
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"] * (when == "after")


async def test_a_compressed_answer_is_not_unpacked(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    upstreams.merit_systems.reply = lambda _: PlainTextResponse("x", headers={"Content-Encoding": "gzip"})
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused, match="compressed"):
            await payer.send(run(upstreams), spending())


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_that_drips_ends_with_the_time_of_the_order(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, when: str
) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b"x"
            await asyncio.sleep(0.05)

    upstreams.merit_systems.reply = lambda asked: (
        StreamingResponse(drip()) if when == "before" or asked.payment else None
    )
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        async with asyncio.timeout(25):
            # Time enough for the payment; all of the answer would take thirty seconds.
            with pytest.raises(UpstreamLost, match="within 4 s"):
                await payer.send(run(upstreams, timeout_s=4.0), spending())
    assert [row["state"] for row in await rows(tmp_path)] == ["unknown"] * (when == "after")


async def test_a_busy_provider_is_asked_again_before_it_is_paid_and_may_say_when(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    busy = PlainTextResponse("later", 429, headers={"Retry-After": "1"})
    shop.reply = lambda _: busy if len(shop.requests) == 1 else None
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        began = asyncio.get_running_loop().time()
        assert output(await payer.send(run(upstreams), spending())) == "42\n"
        assert asyncio.get_running_loop().time() - began >= 1
        asked = len(shop.requests)
        shop.reply = lambda _: PlainTextResponse("later", 429, headers={"Retry-After": "600"})
        assert (await payer.send(run(upstreams), spending("other"))).status == 429
    assert len(shop.requests) == asked + 1


async def test_a_request_that_broke_off_is_sent_again_only_if_it_may_be(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems

    def cut(_: object) -> None:
        if len(shop.requests) in {1, 2}:
            shop._served.cut()

    shop.reply = cut
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamLost):
            await payer.send(run(upstreams), spending())
        assert len(shop.requests) == 1
        assert output(await payer.send(run(upstreams, repeatable=True), spending())) == "42\n"


async def test_nothing_of_a_providers_words_or_our_secrets_is_told(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = upstreams.merit_systems
    shop.reply = lambda _: JSONResponse({"x402Version": 1, "accepts": [{"scheme": "<secret words>"}]}, 402)
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamRefused) as refused:
            await payer.send(run(upstreams), spending())
        shop.reply = lambda _: None
        await payer.send(run(upstreams, "print('customer data')"), spending())
    said = "".join(capsys.readouterr())
    (row,) = await rows(tmp_path)
    assert "secret words" not in refused.value.message + said
    for secret in ("customer data", row["payload"], wallet.key, wallet.key[2:]):
        assert secret not in said
    assert wallet.address in said and "upstream_payment" in said


async def test_nothing_new_is_paid_where_that_is_refused_and_what_was_paid_is_sent_again(
    tmp_path: Path, chain: Stack, upstreams: Upstreams, wallet: Wallet
) -> None:
    shop = upstreams.merit_systems
    shop.remembers = True
    async with paying(tmp_path, wallet, chain.devnet) as payer:
        with pytest.raises(UpstreamResting):
            await payer.send(run(upstreams), spending(before_paying=refusing))
        assert (shop.paid_requests, await rows(tmp_path)) == ([], [])
        await payer.send(run(upstreams), spending())
        answer = await payer.send(run(upstreams), spending(before_paying=refusing))
        assert output(answer) == "42\n"
    assert len(await rows(tmp_path)) == 1
    assert chain.balance(shop.pay_to) == shop.price
