"""What a browser is shown, and `Accept` headers made to break whoever reads them."""

import httpx
import pytest

from tests.attacks.world import World, challenge_of, http_request, new_body
from tests.support.standin import Answer, always
from tests.support.wallets import Wallet

HTML = {"Accept": "text/html"}
SCRIPT = "<script>alert(document.cookie)</script>"


def test_the_facilitators_words_are_not_html(world: World, broker: httpx.Client, wallet: Wallet) -> None:
    body = new_body()
    headers = wallet.pay_v2(challenge_of(broker, body))
    world.facilitator.on_verify = always(Answer.of({"isValid": False, "invalidReason": SCRIPT}))
    answer = broker.post("/run", json=body, headers={**headers, **HTML})
    assert answer.status_code == 402
    if answer.headers["Content-Type"].startswith("text/html"):
        assert SCRIPT not in answer.text
    world.assert_nothing_sold(wallet, body)


def test_nothing_of_the_request_is_html(world: World, broker: httpx.Client) -> None:
    body = {**new_body(), "args": [SCRIPT]}
    answer = broker.post(
        f"/run?{SCRIPT}",
        json=body,
        headers={**HTML, "Host": "evil.example", "x-wallet": SCRIPT, "Referer": SCRIPT},
    )
    assert answer.status_code == 402
    assert SCRIPT not in answer.text
    assert "evil.example" not in answer.text


def test_a_browser_that_pays_gets_its_work_and_nothing_twice(
    world: World, broker: httpx.Client, wallet: Wallet
) -> None:
    body = new_body()
    headers = {**wallet.pay_v1(challenge_of(broker, body)), **HTML}
    answer = broker.post("/run", json=body, headers=headers)
    assert answer.status_code == 200
    assert "secret" in answer.text
    world.assert_sold_once(wallet, body)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html;q=nan",
        "text/html;q=inf",
        "text/html;q=1e999",
        "text/html;q=-1",
        "text/html;q=" + "9" * 5_000,
        "text/html;q=\xb2",
        "text/html;q",
        ";;;,,,;q=;",
        "/",
        "*/*;" * 2_000,
        "text/html," * 2_000,
        "\xff\xfe",
        "text/html;" + "a" * 50_000,
        "",
    ],
    ids=lambda accept: ascii(accept)[:24],
)
def test_an_accept_header_made_to_break_is_a_402_like_any_other(world: World, accept: str) -> None:
    body = new_body()
    status, head, _ = world.raw(http_request(body, ("Accept", accept)))
    assert status == 402
    assert "payment-required:" in head.lower()
    assert world.runs(body) == 0
