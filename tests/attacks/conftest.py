"""One broker for all attacks, a second one on the same ledger, and neighbours that do as they are told.

Attacks on stored content need a real store: `store_host` has one, and only its facilitator is scripted.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.attacks.facilitator import Facilitator
from tests.attacks.world import World, check_clean_response, running_world
from tests.support.services import Stack, running_stack
from tests.support.valkey import running_valkey
from tests.support.wallets import Wallet, new_wallet


@pytest.fixture(scope="session")
def session_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # No test here needs a short lease: one that ran out on a busy machine would void somebody's payment.
    with running_world(tmp_path_factory.mktemp("attacks"), brokers=2, lease_s=5) as running:
        yield running


@pytest.fixture
def world(session_world: World) -> World:
    session_world.be_honest()
    return session_world


@pytest.fixture
def broker(world: World) -> Iterator[httpx.Client]:
    with world.client() as client:
        yield client


@pytest.fixture
def wallet() -> Wallet:
    """Rich, as far as the stand-in for the facilitator knows."""
    return new_wallet()


@pytest.fixture(scope="session")
def session_facilitator() -> Iterator[Facilitator]:
    made = Facilitator()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that only these tests use: some look at all that is in it."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="session")
def store_host(
    tmp_path_factory: pytest.TempPathFactory, session_facilitator: Facilitator, valkey_url: str
) -> Iterator[Stack]:
    """A real store and real caches behind a broker whose facilitator says what the tests want."""
    url = session_facilitator.url
    settings = {"X402_FACILITATOR_URL": url, "CHAIN_RPC_URL": url + "/rpc", "REDIS_URL": valkey_url}
    home = tmp_path_factory.mktemp("host")
    with running_stack(home, UPLOADS_AT_ONCE="64", **settings) as running:
        yield running


@pytest.fixture
def facilitator(session_facilitator: Facilitator) -> Facilitator:
    session_facilitator.be_honest()
    return session_facilitator


@pytest.fixture
def host(store_host: Stack, facilitator: Facilitator) -> Stack:
    return store_host


@pytest.fixture
def store(host: Stack) -> Iterator[httpx.Client]:
    """A client of the broker with the real store, which checks every answer for leaks."""

    def check(response: httpx.Response) -> None:
        # Content may say what it likes.
        if not (response.is_success and response.request.url.path.startswith(("/files/", "/ipfs/"))):
            check_clean_response(response)

    with httpx.Client(
        base_url=host.broker,
        timeout=30,
        trust_env=False,
        verify=False,
        event_hooks={"response": [check]},
    ) as client:
        yield client
