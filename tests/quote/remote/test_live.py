"""The real servers, for those who want to know: `GALAKSIO_LIVE=1 pytest tests/quote/remote/test_live.py`."""

import os

import pytest

from shared.remote import REMOTE_PROVIDERS
from tests.quote.remote.sellers import ask_of, sellers

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("GALAKSIO_LIVE") != "1", reason="GALAKSIO_LIVE=1 asks the real servers"
    ),
]


@pytest.mark.parametrize("name", REMOTE_PROVIDERS)
async def test_it_names_a_price(name: str) -> None:
    async with sellers(urls={}, timeout_s=10.0) as found:
        prices = await found[name].prices(ask_of(found[name]))
    assert prices
    assert all(price.atomic > 0 for price in prices)
