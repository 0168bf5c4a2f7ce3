"""The digest and the recovered key are the ones that the x402 package and the token compute."""

import random

from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.types import ExactEIP3009Authorization
from x402.mechanisms.evm.verify import verify_eoa_signature

from broker.payments.authorization import Authorization
from broker.payments.eip712 import signed_by_payer, transfer_digest
from shared.networks import network_named
from tests.broker.conftest import signed_authorization
from tests.support.wallets import new_wallet


def random_authorization(seed: int) -> Authorization:
    source = random.Random(seed)
    numbers = [source.getrandbits(source.choice([1, 40, 255, 256])) for _ in range(3)]
    return Authorization(
        payer="0x" + source.randbytes(20).hex(),
        pay_to="0x" + source.choice([source.randbytes(20), bytes(20), bytes(19) + b"\1"]).hex(),
        value=numbers[0],
        valid_after=numbers[1],
        valid_before=numbers[2],
        nonce="0x" + source.randbytes(32).hex(),
        signature="0x" + source.randbytes(64).hex() + source.choice(["00", "01", "1b", "1c", "1d", "ff"]),
    )


def test_the_digest_is_the_packages() -> None:
    for seed in range(200):
        auth, network = random_authorization(seed), network_named(("base-sepolia", "base")[seed % 2])
        message = ExactEIP3009Authorization(
            from_address=auth.payer,
            to=auth.pay_to,
            value=str(auth.value),
            valid_after=str(auth.valid_after),
            valid_before=str(auth.valid_before),
            nonce=auth.nonce,
        )
        assert transfer_digest(auth, network) == hash_eip3009_authorization(
            message, network.chain_id, network.asset, network.domain_name, network.domain_version
        )


def test_a_random_signature_is_judged_without_an_exception_and_is_nobodys() -> None:
    network = network_named("base-sepolia")
    for seed in range(200):
        assert not signed_by_payer(random_authorization(seed), network)


def test_what_a_wallet_signs_is_its_own_for_us_and_for_the_package() -> None:
    network, wallet = network_named("base-sepolia"), new_wallet()
    extra = {"name": network.domain_name, "version": network.domain_version}
    for value in (1, 5800, 2**200):
        auth = signed_authorization(wallet.payload(network.asset, "0x" + "bb" * 20, value, extra))
        assert signed_by_payer(auth, network)
        raw = bytes.fromhex(auth.signature[2:])
        assert verify_eoa_signature(transfer_digest(auth, network), raw, auth.payer)
