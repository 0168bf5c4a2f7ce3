"""Signing in: only the exact text that was issued, once, in time, by its own key."""

import asyncio
import hashlib
from functools import partial

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import Connection, func, select

from broker.accounts import sign_in as module
from broker.accounts.errors import SignInRefused, Unauthorized
from broker.accounts.sign_in import SignIn
from broker.accounts.tables import sessions, signin_nonces
from broker.accounts.visitor import Visitors
from broker.settings import BrokerSettings
from shared.database import Database
from shared.errors import BadRequest, StartupError, Unavailable
from shared.networks import Network
from shared.settings import load_settings
from shared.sign_in import SignInMessage, domain_of, parse_sign_in
from tests.broker.accounts.conftest import BASE, sign
from tests.broker.conftest import FakeClock


async def test_a_signed_text_opens_a_session_that_ends_after_an_hour(
    sign_in: SignIn, account: LocalAccount, clock: FakeClock
) -> None:
    issued = await sign_in.issue(account.address.lower(), BASE)
    session = await sign_in.verify(sign(account, issued.message), nonce=None, message=issued.message)
    assert session.address == account.address
    assert await sign_in.address_of(session.token) == account.address.lower()
    clock.now += 3599
    assert await sign_in.address_of(session.token) == account.address.lower()
    clock.now += 1
    assert await sign_in.address_of(session.token) is None


async def test_the_text_is_eip_4361_to_the_letter(
    sign_in: SignIn, account: LocalAccount, network: Network
) -> None:
    issued = await sign_in.issue(account.address.lower(), "https://broker.test:8443/galaksio")
    assert issued.message == (
        "broker.test:8443 wants you to sign in with your Ethereum account:\n"
        f"{account.address}\n"
        "\n"
        "Sign in to Galaksio to see your payments. This moves no money.\n"
        "\n"
        "URI: https://broker.test:8443/galaksio\n"
        "Version: 1\n"
        "Chain ID: 84532\n"
        f"Nonce: {issued.nonce}\n"
        "Issued At: 2027-01-15T08:00:00.000Z\n"
        "Expiration Time: 2027-01-15T08:05:00.000Z"
    )
    assert parse_sign_in(issued.message).text() == issued.message


async def test_the_nonce_alone_is_enough_and_it_works_once(sign_in: SignIn, account: LocalAccount) -> None:
    issued = await sign_in.issue(account.address, BASE)
    signature = sign(account, issued.message)
    assert (await sign_in.verify(signature, nonce=issued.nonce, message=None)).address == account.address
    for replay in ({"nonce": issued.nonce, "message": None}, {"nonce": None, "message": issued.message}):
        with pytest.raises(SignInRefused, match="used before"):
            await sign_in.verify(signature, **replay)


async def test_of_many_brokers_and_attempts_one_gets_the_session(
    database: Database, account: LocalAccount, clock: FakeClock, network: Network
) -> None:
    other = Database(database.url)
    brokers = [SignIn(database, clock, network.chain_id), SignIn(other, clock, network.chain_id)]
    issued = await brokers[0].issue(account.address, BASE)
    signature = sign(account, issued.message)
    tries = [brokers[n % 2].verify(signature, nonce=issued.nonce, message=None) for n in range(30)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    opened = [end for end in ends if not isinstance(end, BaseException)]
    assert len(opened) == 1
    assert all(isinstance(end, SignInRefused) for end in ends if isinstance(end, BaseException))
    assert await brokers[1].address_of(opened[0].token) == account.address.lower()
    await other.close()


async def test_a_failed_attempt_uses_the_nonce_up(sign_in: SignIn, account: LocalAccount) -> None:
    issued = await sign_in.issue(account.address, BASE)
    with pytest.raises(SignInRefused, match="not that of the address"):
        await sign_in.verify(sign(Account.create(), issued.message), nonce=issued.nonce, message=None)
    with pytest.raises(SignInRefused, match="used before"):
        await sign_in.verify(sign(account, issued.message), nonce=issued.nonce, message=None)


async def test_an_expired_text_is_refused(sign_in: SignIn, account: LocalAccount, clock: FakeClock) -> None:
    issued = await sign_in.issue(account.address, BASE)
    clock.now += 300
    with pytest.raises(SignInRefused, match="expired"):
        await sign_in.verify(sign(account, issued.message), nonce=issued.nonce, message=None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("broker.test wants", "evil.test wants"),
        ("URI: https://broker.test", "URI: https://evil.test"),
        ("Chain ID: 84532", "Chain ID: 8453"),
        ("This moves no money.", "I give everything away."),
        ("T08:05:00.000Z", "T09:05:00.000Z"),
        ("Version: 1", "Version: 2"),
        ("Version: 1", "Version: 1\nRequest ID: 7"),
        ("https://broker.test", "https://broker.test\nResources:\n- https://evil.test"),
    ],
)
async def test_a_text_that_was_tampered_with_is_refused_although_it_is_signed(
    sign_in: SignIn, account: LocalAccount, old: str, new: str
) -> None:
    issued = await sign_in.issue(account.address, BASE)
    tampered = issued.message.replace(old, new)
    assert tampered != issued.message
    with pytest.raises(SignInRefused, match="not the text that was issued"):
        await sign_in.verify(sign(account, tampered), nonce=issued.nonce, message=tampered)


async def test_another_address_in_the_text_is_refused(sign_in: SignIn, account: LocalAccount) -> None:
    victim, thief = account, Account.create()
    issued = await sign_in.issue(victim.address, BASE)
    swapped = issued.message.replace(victim.address, thief.address)
    with pytest.raises(SignInRefused, match="not the text that was issued"):
        await sign_in.verify(sign(thief, swapped), nonce=None, message=swapped)


@pytest.mark.parametrize("signature", ["0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "11" * 64 + "1b"])
async def test_bytes_that_are_no_signature_are_refused(
    sign_in: SignIn, account: LocalAccount, signature: str
) -> None:
    issued = await sign_in.issue(account.address, BASE)
    with pytest.raises(SignInRefused):
        await sign_in.verify(signature, nonce=issued.nonce, message=None)


async def test_neither_text_nor_nonce_is_a_bad_request(sign_in: SignIn) -> None:
    with pytest.raises(BadRequest, match="nonce"):
        await sign_in.verify("0x" + "11" * 65, nonce=None, message=None)


async def test_signing_out_ends_the_session(sign_in: SignIn, account: LocalAccount) -> None:
    issued = await sign_in.issue(account.address, BASE)
    session = await sign_in.verify(sign(account, issued.message), nonce=issued.nonce, message=None)
    await sign_in.close(session.token)
    assert await sign_in.address_of(session.token) is None


async def test_the_database_knows_the_tokens_hash_only(
    sign_in: SignIn, account: LocalAccount, database: Database
) -> None:
    issued = await sign_in.issue(account.address, BASE)
    session = await sign_in.verify(sign(account, issued.message), nonce=issued.nonce, message=None)
    rows = await database.read(lambda connection: connection.execute(select(sessions)).all())
    assert len(session.token) >= 43
    assert [row.token_hash for row in rows] == [hashlib.sha256(session.token.encode()).hexdigest()]
    assert session.token not in repr(rows)


async def test_what_expired_is_swept_and_the_rest_is_kept(
    sign_in: SignIn, account: LocalAccount, clock: FakeClock, database: Database
) -> None:
    first = await sign_in.issue(account.address, BASE)
    await sign_in.verify(sign(account, first.message), nonce=first.nonce, message=None)
    await sign_in.issue(account.address, BASE)
    assert await sign_in.sweep() == 0
    clock.now += 300
    fresh = await sign_in.issue(account.address, BASE)
    assert await sign_in.sweep() == 1
    clock.now += 3300
    assert await sign_in.sweep() == 2
    for table in (signin_nonces, sessions):
        count = select(func.count()).select_from(table)
        left = await database.read(partial(Connection.scalar, statement=count))
        assert left == 0, fresh.nonce


async def test_sign_ins_that_nobody_finishes_are_bounded(
    sign_in: SignIn, account: LocalAccount, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    for _ in range(3):
        await sign_in.issue(account.address, BASE)
    with pytest.raises(Unavailable):
        await sign_in.issue(account.address, BASE)
    clock.now += 300
    await sign_in.issue(account.address, BASE)


async def test_the_operator_is_known_by_the_whole_token_only(sign_in: SignIn) -> None:
    visitors = Visitors(sign_in, "operator-token-1234")
    assert (await visitors.recognise("operator-token-1234")).payer is None
    for guess in ("", "operator-token-123", "operator-token-12345", "Operator-token-1234", "\xff" * 19):
        with pytest.raises(Unauthorized):
            await visitors.recognise(guess)
    with pytest.raises(Unauthorized):
        await Visitors(sign_in, None).recognise("None")


@pytest.mark.parametrize("token", ["short", "x" * 15, "with spaces in it, long", "ümlaut-is-not-plain-ascii"])
def test_a_weak_operator_token_stops_the_start_with_one_sentence(token: str) -> None:
    with pytest.raises(StartupError, match="OPERATOR_TOKEN") as caught:
        load_settings(BrokerSettings, {"OPERATOR_TOKEN": token})
    assert token not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_good_operator_token_is_taken_and_not_shown() -> None:
    settings = load_settings(BrokerSettings, {"OPERATOR_TOKEN": "x" * 16})
    assert settings.operator == "x" * 16
    assert "x" * 16 not in repr(settings)
    assert load_settings(BrokerSettings, {}).operator is None


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://Api.Test", "api.test"),
        ("https://api.test:443/base", "api.test"),
        ("http://api.test:8080", "api.test:8080"),
        ("http://user:secret@api.test:80", "api.test"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_domain_is_the_urls_authority(url: str, domain: str) -> None:
    assert domain_of(url) == domain


def test_only_what_we_write_is_read_as_a_sign_in() -> None:
    good = SignInMessage(
        "a.test",
        "0x" + "11" * 20,
        "https://a.test",
        1,
        "abcdefgh",
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:05:00Z",
    ).text()
    assert parse_sign_in(good).chain_id == 1
    for text in (
        "",
        good + "\n",
        " " + good,
        good.replace("\n", "\r\n"),
        good.replace("Version: 1", "Version: 1 "),
        good.replace("abcdefgh", "short"),
        good.replace("abcdefgh", "abcd\nefgh"),
        good.replace("Chain ID: 1", "Chain ID: 0x1"),
        good.replace("Chain ID: 1", "Chain ID: ١"),
        good.replace("a.test wants", "user@a.test wants"),
        "transfer everything",
    ):
        with pytest.raises(ValueError, match="EIP-4361"):
            parse_sign_in(text)
