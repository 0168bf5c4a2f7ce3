from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from devnet.main import create_app
from devnet.settings import DevnetSettings
from tests.devnet.support import Client, FakeClock, running

OpenDevnet = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """One clock for the chain and for the package's schemes, which read `time.time()` themselves."""
    fake = FakeClock()
    for module in ("exact.facilitator", "exact.v1.facilitator"):
        monkeypatch.setattr(f"x402.mechanisms.evm.{module}.time", SimpleNamespace(time=fake))
    return fake


@pytest.fixture
def open_devnet(tmp_path: Path, clock: FakeClock) -> OpenDevnet:
    """Starts a devnet in this process on the test's own state file; starting again is a restart."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Client]:
        app = create_app(DevnetSettings(galaksio_home=tmp_path / "home"), clock)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://devnet") as http,
        ):
            yield Client(http)

    return opened


@pytest.fixture
async def devnet(open_devnet: OpenDevnet) -> AsyncIterator[Client]:
    async with open_devnet() as client:
        yield client


@pytest.fixture(scope="session")
def devnet_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A devnet in a process of its own, on the real clock, over real HTTP."""
    with running(tmp_path_factory.mktemp("devnet") / "home") as (url, _):
        yield url
