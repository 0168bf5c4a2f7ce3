"""No proxy, the depth of the service, and trust in certificates that is read from disk once, for time."""

import ssl
import sys
from collections.abc import Iterator

import certifi
import pytest

from shared.http import RECURSION_LIMIT


@pytest.fixture(autouse=True)
def no_proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here stands on this machine, or in respx; but for what is live."""
    if request.node.get_closest_marker("live"):
        return
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def depth() -> Iterator[None]:
    """As deep as the service goes (`new_app`); libraries that are imported beside it raise the limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    yield
    sys.setrecursionlimit(before)


@pytest.fixture(scope="session")
def certificates() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


@pytest.fixture(autouse=True)
def one_context(certificates: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: certificates)
