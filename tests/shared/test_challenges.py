"""What somebody else's 402 asks for: read to the unit, or refused with a reason; nothing else comes out."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS

from shared.challenges import MAX_ACCEPTS, MAX_TIMEOUT_S, Challenge, ChallengeError, read_challenge
from shared.money import MAX_ATOMIC
from tests.support.challenges import MEGA_USD, PAY_TO, USDC, v1_body, v1_entry, v2_entry, v2_headers

BASE, SEPOLIA, MEGA = "eip155:8453", "eip155:84532", "eip155:4326"


def of_v1(*entries: Any) -> Challenge:
    return read_challenge(402, {}, v1_body(*entries))


def of_v2(*entries: Any) -> Challenge:
    return read_challenge(402, v2_headers(*entries), b"")


def reason(status: int, headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(ChallengeError) as caught:
        read_challenge(status, headers, body)
    return str(caught.value)


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_say_the_same_price(version: int) -> None:
    entry = v1_entry("12345") if version == 1 else v2_entry("12345")
    challenge = of_v1(entry) if version == 1 else of_v2(entry)
    (wanted,) = challenge.accepts
    assert (challenge.x402_version, wanted.x402_version) == (version, version)
    assert (wanted.network, wanted.chain_id, wanted.asset) == (BASE, 8453, USDC[BASE])
    assert (wanted.amount, wanted.price_atomic) == (12345, 12345)
    assert (wanted.pay_to, wanted.max_timeout_s) == (PAY_TO, 60)
    assert (wanted.name, wanted.version) == ("USD Coin", "2")
    assert wanted.entry == entry


@pytest.mark.parametrize(
    ("amount", "price_atomic"),
    [(str(10**16), 10_000), ("1", 1), (str(10**12 + 1), 2), (str(10**18), 1_000_000)],
)
def test_an_asset_with_18_decimals_is_priced_by_its_own_and_rounded_up(
    amount: str, price_atomic: int
) -> None:
    for wanted in (of_v1(v1_entry(amount, MEGA)).accepts[0], of_v2(v2_entry(amount, MEGA)).accepts[0]):
        assert (wanted.asset, wanted.amount, wanted.price_atomic) == (MEGA_USD, int(amount), price_atomic)


def test_the_cheapest_comes_first_whatever_its_decimals() -> None:
    entries = v2_entry("20000"), v2_entry(str(5 * 10**15), MEGA), v2_entry("10000", SEPOLIA)
    assert [wanted.price_atomic for wanted in of_v2(*entries).accepts] == [5_000, 10_000, 20_000]


def test_the_domain_comes_from_the_table_and_not_from_the_seller() -> None:
    (wanted,) = of_v2(v2_entry(extra={"name": "Not a dollar", "version": "9"})).accepts
    assert (wanted.name, wanted.version) == ("USD Coin", "2")


def test_an_asset_is_known_in_any_case_of_its_letters() -> None:
    (wanted,) = of_v2(v2_entry(asset=USDC[BASE].lower())).accepts
    assert wanted.asset == USDC[BASE]


@pytest.mark.parametrize("name", ["PAYMENT-REQUIRED", "payment-required", "Payment-Required"])
def test_the_header_of_v2_wins_over_a_body_of_v1(name: str) -> None:
    (header,) = v2_headers(v2_entry("777")).values()
    challenge = read_challenge(402, {name: header}, v1_body(v1_entry("1")))
    assert (challenge.x402_version, challenge.accepts[0].price_atomic) == (2, 777)


def test_a_header_of_v2_that_cannot_be_read_is_not_made_up_for_by_the_body() -> None:
    assert "not JSON" in reason(402, {"PAYMENT-REQUIRED": "?"}, v1_body(v1_entry("1")))


def test_v2_may_stand_in_the_body_too() -> None:
    body = json.dumps({"x402Version": 2, "accepts": [v2_entry("5")]}).encode()
    assert read_challenge(402, {}, body).accepts[0].price_atomic == 5


def test_v1_may_spell_its_network_as_v2_does() -> None:
    assert of_v1(v1_entry(network=SEPOLIA) | {"network": SEPOLIA}).accepts[0].network == SEPOLIA


def test_what_cannot_be_paid_spoils_nothing_beside_it() -> None:
    others = [None, 7, {}, v2_entry(scheme="upto"), v2_entry("0"), v2_entry(network="solana:x")]
    assert [wanted.amount for wanted in of_v2(*others, v2_entry("9")).accepts] == [9]


def test_only_so_many_entries_are_looked_at() -> None:
    many = [v2_entry(str(amount)) for amount in range(100, 100 + MAX_ACCEPTS)]
    found = of_v2(*many, v2_entry("1")).accepts
    assert (len(found), found[0].amount) == (MAX_ACCEPTS, 100)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 429, 500, 503])
def test_any_other_status_is_no_price_whatever_it_says(status: int) -> None:
    assert str(status) in reason(status, v2_headers(v2_entry()), v1_body(v1_entry()))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>402 Payment Required</html>", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 10_000 + b"]" * 10_000, "not JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not JSON"),
        (b'{"x402Version": 1, "accepts": [{"extra": NaN}]}', "not JSON"),
        (b'{"x402Version": 1, "accepts": [{"extra": 1e999}]}', "not JSON"),
        (b'{"x402Version": 1, "accepts": [{"extra": "\\ud800"}]}', "not JSON"),
        (b'{"x402Version": 1, "accepts": [' + b"9" * 5000 + b"]}", "not JSON"),
        (b"null", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'"x402Version"', "not a JSON object"),
        (b"{}", "neither"),
        (b'{"x402Version": 3, "accepts": [{}]}', "neither"),
        (b'{"x402Version": true, "accepts": [{}]}', "neither"),
        (b'{"x402Version": 1.0, "accepts": [{}]}', "neither"),
        (b'{"x402Version": "1", "accepts": [{}]}', "neither"),
        (b'{"x402Version": [1], "accepts": [{}]}', "neither"),
        (b'{"x402Version": 1}', "no payment at all"),
        (b'{"x402Version": 1, "accepts": []}', "no payment at all"),
        (b'{"x402Version": 1, "accepts": null}', "no payment at all"),
        (b'{"x402Version": 1, "accepts": {"0": {}}}', "no payment at all"),
        (b'{"x402Version": 1, "accepts": "exact"}', "no payment at all"),
    ],
)
def test_a_402_that_says_no_price_is_refused_with_the_reason(body: bytes, why: str) -> None:
    assert why in reason(402, {}, body)
    assert why in reason(402, {"PAYMENT-REQUIRED": base64.b64encode(body).decode() or "?"}, b"")


@pytest.mark.parametrize(
    "amount",
    [
        *("", "-1", "+1", "1e3", "1.0", "0x10", " 1", "1 ", "1_000", "007", "00", "ten"),
        *("١٢٣", "１２", "²", None, 10_000, 1.5, True, ["1"], {}),
        *(str(2**300), "9" * 5000),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_an_amount_is_plain_digits_or_no_price(version: int, amount: Any) -> None:
    with pytest.raises(ChallengeError, match="whole number"):
        of_v1(v1_entry(amount)) if version == 1 else of_v2(v2_entry(amount))


@pytest.mark.parametrize(
    ("amount", "why"),
    [("0", "zero"), (str(2**256), "more than a token"), (str(2**256 - 1), "sense"), (str(2**63), "sense")],
)
def test_an_amount_of_nothing_or_of_everything_is_no_price(amount: str, why: str) -> None:
    with pytest.raises(ChallengeError, match=why):
        of_v2(v2_entry(amount))


def test_the_largest_amount_that_makes_sense_is_read() -> None:
    assert of_v2(v2_entry(str(MAX_ATOMIC))).accepts[0].price_atomic == MAX_ATOMIC


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"scheme": "upto"}, "scheme"),
        ({"scheme": "EXACT"}, "scheme"),
        ({"asset": "0x" + "11" * 20}, "dollar token"),
        ({"asset": USDC[SEPOLIA]}, "dollar token"),
        ({"network": "eip155:999999"}, "dollar token"),
        ({"network": "eip155:"}, "network"),
        ({"network": "eip155:08453"}, "network"),
        ({"network": "eip155:" + "9" * 40}, "network"),
        ({"network": "eip155:٨٤٥٣"}, "network"),
        ({"network": "base"}, "network"),
        ({"network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"}, "network"),
        ({"payTo": "0x" + "0" * 40}, "nobody"),
        ({"maxTimeoutSeconds": MAX_TIMEOUT_S + 1}, "over 30 days"),
        ({"maxTimeoutSeconds": 10**30}, "over 30 days"),
        *(
            ({name: value}, "as x402 has it")
            for name in ("scheme", "network", "asset", "payTo")
            for value in (None, 1, True, [], {})
        ),
        *(
            ({"payTo": value}, "as x402 has it")
            for value in ("", "0x", PAY_TO + "0", PAY_TO + "\n", "alice.eth")
        ),
        *(({"maxTimeoutSeconds": value}, "as x402 has it") for value in (None, 0, -1, True, 60.0, "60", [])),
    ],
)
def test_an_entry_that_cannot_be_paid_as_it_is_is_refused_with_the_reason(
    change: dict[str, Any], why: str
) -> None:
    with pytest.raises(ChallengeError, match=why):
        of_v2(v2_entry() | change)


@pytest.mark.parametrize("name", ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds"])
def test_an_entry_without_one_of_its_fields_is_refused(name: str) -> None:
    entry = v2_entry()
    del entry[name]
    with pytest.raises(ChallengeError):
        of_v2(entry)


def test_the_names_of_the_fields_are_those_of_x402_and_not_ours() -> None:
    entry = v2_entry()
    entry["pay_to"] = entry.pop("payTo")
    with pytest.raises(ChallengeError):
        of_v2(entry)


def test_an_amount_of_the_other_version_is_no_amount() -> None:
    with pytest.raises(ChallengeError, match="whole number"):
        of_v1(v1_entry() | {"maxAmountRequired": None, "amount": "5"})
    with pytest.raises(ChallengeError, match="whole number"):
        of_v2(v2_entry() | {"amount": None, "maxAmountRequired": "5"})


def test_reasons_repeat_nothing_of_what_was_said() -> None:
    secret = "buy-now-at-evil"
    for change in ({"scheme": secret}, {"network": secret}, {"asset": secret}, {"amount": secret}):
        assert secret not in reason(402, v2_headers(v2_entry() | change), b"")
    assert secret not in reason(402, {}, secret.encode())


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a machine that others use as well."""
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["exact", BASE, "base"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("scheme", "network", "amount", "maxAmountRequired", "asset", "payTo", "maxTimeoutSeconds", "extra")
NEARLY = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3).map(
    lambda change: {**v1_entry(), **v2_entry(), **change}
)


def check(status: int, headers: dict[str, str], body: bytes) -> None:
    """Either a price with all that a price has, or a `ChallengeError`."""
    try:
        challenge = read_challenge(status, headers, body)
    except ChallengeError as exc:
        assert str(exc)
        return
    assert status == 402
    assert challenge.accepts
    tokens = {(chain, str(token["asset"])) for chain, known in DEFAULT_ASSETS.items() for token in known}
    for wanted in challenge.accepts:
        assert 0 < wanted.price_atomic <= MAX_ATOMIC
        assert (wanted.network, wanted.asset) in tokens
        assert 0 < wanted.max_timeout_s <= MAX_TIMEOUT_S
        json.dumps(wanted.entry, allow_nan=False, ensure_ascii=False).encode()


@patient
@given(st.sampled_from([402, 200]), st.dictionaries(st.text(), st.text(), max_size=3), st.binary())
def test_no_bytes_and_no_headers_raise_anything_else(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    check(status, headers, body)


@patient
@given(st.binary() | st.text())
def test_nothing_in_the_header_of_v2_raises_anything_else(header: bytes | str) -> None:
    check(402, {"PAYMENT-REQUIRED": header if isinstance(header, str) else header.decode("latin-1")}, b"")
    check(402, {"PAYMENT-REQUIRED": base64.b64encode(str(header).encode("utf-8", "ignore")).decode()}, b"")


@patient
@given(ANYTHING, ANYTHING | st.lists(NEARLY, max_size=3))
def test_no_document_raises_anything_else(version: Any, accepts: Any) -> None:
    for said in (version, 1, 2):
        check(402, {}, json.dumps({"x402Version": said, "accepts": accepts}).encode())
