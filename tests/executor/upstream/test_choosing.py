"""Which 402s are paid, and where a payment may be sent."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.main import create_app
from executor.settings import ExecutorSettings
from executor.upstream.base import Order
from executor.upstream.choosing import check_place, choose, host_of, understand
from executor.upstream.errors import UpstreamOff, UpstreamRefused
from executor.upstream.httpayer import HTTPayer
from executor.upstream.off import NoUpstream
from executor.upstream.opening import choose_upstream
from executor.upstream.payer import Payer
from executor.upstream.wallet import MAX_HEADER_BYTES, Wallet
from shared.clock import system_clock
from shared.errors import StartupError
from shared.http import RECURSION_LIMIT
from shared.networks import network_named
from shared.settings import load_settings
from tests.executor.upstream.paying import settings_of, spending
from tests.support.wallets import new_wallet

SEPOLIA = network_named("base-sepolia")
BASE = network_named("base")
SHOP = "0x00000000000000000000000000000000000a11ce"


def entry(amount: int, network: Any = SEPOLIA, **more: Any) -> dict[str, Any]:
    return {
        "scheme": "exact",
        "network": network.caip2,
        "amount": str(amount),
        "asset": network.asset,
        "payTo": SHOP,
        "maxTimeoutSeconds": 60,
        **more,
    }


def challenge(*accepts: dict[str, Any]) -> Any:
    return understand("shop", 402, {}, json.dumps({"x402Version": 2, "accepts": accepts}).encode())


def test_the_cheapest_way_that_may_be_paid_is_taken() -> None:
    offered = challenge(
        entry(9), entry(1, BASE), entry(7), entry(2, payTo="0x" + "0" * 40), entry(3, extra=["odd"])
    )
    assert choose("shop", offered, SEPOLIA, None).amount == 7
    assert choose("shop", offered, BASE, None).amount == 1


def test_real_money_is_not_paid_for_work_that_is_sold_for_test_money_nor_the_other_way_round() -> None:
    polygon = network_named("polygon")
    offered = challenge(entry(9), entry(3, polygon), entry(5, BASE))
    assert choose("shop", offered, SEPOLIA, None, anywhere=True).amount == 9
    assert choose("shop", offered, BASE, None, anywhere=True).amount == 3
    with pytest.raises(UpstreamRefused, match="not worth"):
        choose("shop", challenge(entry(1, BASE)), SEPOLIA, None, anywhere=True)


def test_what_is_signed_for_another_contract_is_left_out() -> None:
    with pytest.raises(UpstreamRefused, match="domain"):
        choose("shop", challenge(entry(1, extra={"assetTransferMethod": "permit2"})), SEPOLIA, None)
    with pytest.raises(UpstreamRefused, match="dollars on base-sepolia"):
        choose("shop", challenge(entry(1, BASE)), SEPOLIA, None)


@pytest.mark.parametrize(
    ("url", "network", "fine"),
    [
        ("https://api.xcache.io/create", BASE, True),
        ("http://127.0.0.1:8000/create", SEPOLIA, True),
        ("http://localhost/create", SEPOLIA, True),
        ("http://10.1.2.3/create", SEPOLIA, True),
        ("http://127.0.0.1:8000/create", BASE, False),
        ("http://api.xcache.io/create", SEPOLIA, False),
        ("http://localhost.example.org/create", SEPOLIA, False),
        ("http://0.0.0.0/create", SEPOLIA, False),
        ("http://8.8.8.8/create", SEPOLIA, False),
        ("ftp://api.xcache.io/create", SEPOLIA, False),
    ],
)
def test_a_payment_goes_over_tls_or_is_test_money_nearby(url: str, network: Any, fine: bool) -> None:
    if fine:
        check_place("shop", url, network)
        return
    with pytest.raises(UpstreamRefused, match="http"):
        check_place("shop", url, network)


def test_a_402_that_would_not_fit_into_a_header_is_not_signed() -> None:
    wallet = Wallet(new_wallet().key)
    offered = challenge(entry(1, note="x" * MAX_HEADER_BYTES))
    with pytest.raises(UpstreamRefused, match="too long"):
        wallet.sign(choose("shop", offered, SEPOLIA, None), offered, 2_000_000_000)


def test_what_is_logged_of_an_address_is_its_host() -> None:
    assert host_of("https://user:secret@a.example:8443/path?q=1") == "a.example:8443"


async def test_without_a_key_nothing_is_asked_and_nothing_paid(tmp_path: Path) -> None:
    upstream = choose_upstream(settings_of(tmp_path), system_clock)
    assert isinstance(upstream, NoUpstream)
    assert upstream.means().spendable_atomic == 0 and upstream.means().reason
    with pytest.raises(UpstreamOff):
        await upstream.send(Order("GET", "https://a.example"), spending())


async def test_an_own_key_wins_over_httpayer(tmp_path: Path) -> None:
    key = new_wallet().key
    both = settings_of(tmp_path, EXECUTOR_PRIVATE_KEY=key[2:], HTTPAYER_API_KEY="k")
    upstream = choose_upstream(both, system_clock)
    assert isinstance(upstream, Payer) and upstream.means().networks == ["eip155:84532"]
    proxied = choose_upstream(settings_of(tmp_path, HTTPAYER_API_KEY="k"), system_clock)
    assert isinstance(proxied, HTTPayer)
    assert (proxied.means().networks, proxied.means().sends_files) == (None, False)


async def test_the_wallet_that_customers_pay_pays_nobody(tmp_path: Path) -> None:
    wallet, other = new_wallet(), new_wallet()
    for spelling in (wallet.address, wallet.address.lower(), f" {wallet.address} "):
        settings = settings_of(tmp_path, EXECUTOR_PRIVATE_KEY=wallet.key, BROKER_WALLET=spelling)
        with pytest.raises(StartupError, match="key of X402_WALLET_ADDRESS") as refused:
            choose_upstream(settings, system_clock)
        assert wallet.key[2:] not in str(refused.value)
    settings = settings_of(tmp_path, EXECUTOR_PRIVATE_KEY=wallet.key, X402_WALLET_ADDRESS=other.address)
    assert choose_upstream(settings, system_clock).means().payer == wallet.address


@pytest.mark.parametrize("key", ["nonsense", "0x12", "0x" + "0" * 64, "0x" + "f" * 64, "0x" + "g" * 64])
def test_a_key_that_is_none_is_one_sentence_that_does_not_tell_it(key: str) -> None:
    with pytest.raises(StartupError, match="EXECUTOR_PRIVATE_KEY: must be a private key") as refused:
        load_settings(ExecutorSettings, {"EXECUTOR_PRIVATE_KEY": key})
    assert key not in str(refused.value)


def test_the_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    key = new_wallet().key
    shown = repr(settings_of(tmp_path, EXECUTOR_PRIVATE_KEY=key, HTTPAYER_API_KEY="sesame"))
    assert key[2:] not in shown and "sesame" not in shown


def test_a_router_that_would_be_told_its_key_in_the_clear_is_refused(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, HTTPAYER_API_KEY="k", X402_ROUTER_URL="http://router.example")
    with pytest.raises(StartupError, match="https"):
        choose_upstream(settings, system_clock)


def test_an_executor_that_pays_nobody_does_not_import_what_pays() -> None:
    """web3 and its friends cost 1.3 s of CPU at every start."""
    asked = "import sys, executor.main; print('web3' in sys.modules, 'eth_account' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


def test_a_payer_leaves_the_limit_of_recursion_as_services_need_it(tmp_path: Path) -> None:
    """py_ecc, which eth-account may import, raises it so high that a deep JSON body kills the process."""
    settings = settings_of(tmp_path, EXECUTOR_PRIVATE_KEY=new_wallet().key)
    create_app(settings)
    offered = challenge(entry(1))
    Wallet(new_wallet().key).sign(choose("shop", offered, SEPOLIA, None), offered, 2_000_000_000)
    assert sys.getrecursionlimit() == RECURSION_LIMIT
