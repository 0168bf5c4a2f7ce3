"""A devnet for the session, and fresh stand-ins for each test."""

from collections.abc import Iterator

import pytest

from tests.support.ports import free_port
from tests.support.services import Process, Stack, clean_environment
from tests.upstream import Upstreams, running_upstreams


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A devnet and nothing else."""
    home = tmp_path_factory.mktemp("chain")
    stack = Stack(home, clean_environment(GALAKSIO_HOME=str(home)), ports={"devnet": free_port()})
    started: Process = stack.launch("devnet")
    try:
        started.wait_ready()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def upstreams(chain: Stack) -> Iterator[Upstreams]:
    with running_upstreams(chain.devnet) as running:
        yield running
