"""What the remote providers say of themselves, and how the executor finds them."""

from dataclasses import replace
from pathlib import Path

import pytest

from executor.figures import publish
from executor.providers.base import Context, ProviderStatus, find_providers
from executor.storage.storage import Storage
from executor.upstream.base import Means
from executor.upstream.errors import UpstreamOff
from shared.metrics import Metrics
from tests.executor.remote.conftest import MEANS, PlainUpstream, context_of, done, provider

REMOTE = {
    ("cache", "xcache"),
    ("compute", "merit-systems"),
    ("storage", "arweave"),
    ("storage", "galaksio_storage"),
    ("storage", "openx402"),
    ("storage", "pinata"),
}
WORK = {
    "cache": {"cacheOperation": "create"},
    "compute": {"code": "print(1)"},
    "storage": {"data": "hello"},
}


def statuses(context: Context) -> dict[tuple[str, str], ProviderStatus]:
    found = find_providers(context).providers
    return {whose: one.status() for whose, one in found.items() if whose in REMOTE}


def test_all_of_them_are_found_by_their_place(context: Context) -> None:
    assert statuses(context).keys() == REMOTE


def test_they_tell_how_much_may_be_spent_and_where(context: Context) -> None:
    for status in statuses(context).values():
        assert (status.status, status.reason, status.accepting) == ("available", "", True)
        assert (status.networks, status.spendable_atomic) == (["eip155:84532"], 1_000_000)


def test_with_nothing_left_to_spend_they_take_no_work(context: Context, upstream: PlainUpstream) -> None:
    upstream.can = replace(MEANS, spendable_atomic=0)
    for status in statuses(context).values():
        assert (status.status, status.accepting, status.retry_after_s) == ("available", False, 60)
        assert "spent" in status.reason


@pytest.mark.parametrize("whose", sorted(REMOTE))
async def test_without_means_they_are_off_and_ask_nobody(
    context: Context, upstream: PlainUpstream, whose: tuple[str, str]
) -> None:
    upstream.can = Means("EXECUTOR_PRIVATE_KEY is not set", [], 0, False)
    status = provider(context, *whose).status()
    assert (status.status, status.reason) == ("disabled", "EXECUTOR_PRIVATE_KEY is not set")
    if whose[1] == "xcache":  # it leaves that to the upstream, because what was bought needs no means
        return
    with pytest.raises(UpstreamOff):
        await done(context, *whose, WORK[whose[0]])
    assert upstream.sent == []


@pytest.mark.parametrize("whose", sorted(REMOTE))
async def test_one_that_the_host_does_not_want_is_off(
    tmp_path: Path, upstream: PlainUpstream, storage: Storage, whose: tuple[str, str]
) -> None:
    context = context_of(tmp_path, upstream, storage, REMOTE_PROVIDERS="off")
    status = provider(context, *whose).status()
    assert (status.status, status.reason) == ("disabled", f"REMOTE_PROVIDERS is without {whose[1]}")
    with pytest.raises(UpstreamOff):
        await done(context, *whose, WORK[whose[0]])
    assert upstream.sent == []


def test_only_who_is_sent_files_as_they_are_needs_a_way_for_them(
    context: Context, upstream: PlainUpstream
) -> None:
    upstream.can = replace(MEANS, sends_files=False)
    off = {name for (_, name), status in statuses(context).items() if status.status == "disabled"}
    assert off == {"openx402"}


def test_what_was_paid_is_told_from_0_on_of_each_that_can_be_paid(
    context: Context, upstream: PlainUpstream
) -> None:
    """The first payment to one is the second value of its series, and growth can be seen."""
    metrics = Metrics("executor")
    publish(metrics, find_providers(context), upstream)

    def told() -> dict[str, float]:
        families = metrics.registry.collect()
        (spent,) = [family for family in families if family.name == "galaksio_upstream_spent_usd"]
        return {sample.labels["provider"]: sample.value for sample in spent.samples}

    assert told() == {**{name: 0.0 for _, name in REMOTE}, "xcache": 0.02}
    upstream.can = Means("EXECUTOR_PRIVATE_KEY is not set", [], 0, False)
    assert told() == {"xcache": 0.02}, "nothing of those that cannot be paid"
