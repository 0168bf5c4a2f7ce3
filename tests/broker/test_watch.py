"""Whether money could settle: what facilitator, node and clock say, and what is sold meanwhile."""

import time
from collections.abc import Iterator
from email.utils import formatdate

import httpx
import pytest

from broker.payments import watch as watching
from broker.payments.chain import Chain, Head
from broker.payments.findings import Findings
from broker.payments.settlement import Settlement
from broker.payments.watch import Watch
from shared.errors import StartupError, Unavailable
from shared.networks import DEVNET, network_named
from tests.support.services import HOST_WALLET, Process, Stack, running_stack
from tests.support.standin import DROPPED, Answer, StandIn

SEPOLIA = network_named("base-sepolia")


class Facilitator(StandIn):
    """Offers `networks` in `versions` of x402; `extensions` are what it calls itself.

    Its clock is `ahead_s` before ours, or it says nothing of it (None).
    """

    def __init__(self) -> None:
        super().__init__()
        self.networks = ["eip155:84532"]
        self.versions = [1, 2]
        self.ahead_s: float | None = 0.0
        self.extensions: list[str] = []
        self.instead: Answer | None = None

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        if self.instead is not None:
            return self.instead
        kinds = [
            {"x402Version": version, "scheme": "exact", "network": network}
            for network in self.networks
            for version in self.versions
        ]
        date = (
            () if self.ahead_s is None else (("Date", formatdate(time.time() + self.ahead_s, usegmt=True)),)
        )
        return Answer.of({"kinds": kinds, "extensions": self.extensions, "signers": {}}, headers=date)


class Node:
    """A chain whose latest block is `ahead_s` before our clock."""

    def __init__(self, chain_id: int = 84532, ahead_s: float = -3, devnet: bool | None = None) -> None:
        self.chain_id = chain_id
        self.ahead_s = ahead_s
        self.devnet = devnet

    async def head(self) -> Head:
        return Head(self.chain_id, int(time.time() + self.ahead_s), self.devnet)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look in this process is enough for all that is asked about it, however long it took."""
    monkeypatch.setattr(watching, "CHECK_TIMEOUT_S", 20.0)
    monkeypatch.setattr(watching, "FRESH_S", 3600.0)


@pytest.fixture
def facilitator() -> Iterator[Facilitator]:
    served = Facilitator()
    served.start()
    yield served
    served.stop()


async def findings(facilitator: Facilitator, node: Node | None = None, url: str | None = None) -> Watch:
    settlement = Settlement(facilitator.url, SEPOLIA, timeout_s=20)
    watch = Watch(settlement, node, SEPOLIA, url or facilitator.url)  # type: ignore[arg-type]
    await watch.look()
    await settlement.close()
    return watch


def starts(watch: Watch) -> bool:
    """Whether a broker that found this would start."""
    return watch.found.contradicts is None


def sells(watch: Watch) -> bool:
    try:
        watch.check()
    except Unavailable as exc:
        assert exc.code == "payments_unavailable"
        return False
    return True


async def test_when_all_is_well_nothing_is_said(facilitator: Facilitator) -> None:
    watch = await findings(facilitator, Node())
    assert watch.found == Findings()
    assert sells(watch)


@pytest.mark.parametrize("instead", [DROPPED, Answer(500), Answer(body=b"<html>")])
async def test_a_facilitator_that_gives_no_answer_is_named_and_stops_no_sale_by_itself(
    facilitator: Facilitator, instead: Answer
) -> None:
    facilitator.instead = instead
    watch = await findings(facilitator)
    assert facilitator.url in (watch.found.facilitator or "")
    assert "X402_FACILITATOR_URL" in (watch.found.facilitator or "")
    assert sells(watch)
    assert starts(watch)
    assert (await watch.facilitator()).state == "unhealthy"


@pytest.mark.parametrize("networks", [[], ["base"], ["eip155:8453", "solana"]])
async def test_a_facilitator_of_another_network_stops_all_sales(
    facilitator: Facilitator, networks: list[str]
) -> None:
    facilitator.networks = networks
    watch = await findings(facilitator)
    said = watch.found.facilitator or ""
    assert "base-sepolia" in said
    assert all(network in said for network in networks)
    assert not sells(watch)
    # One that offers nothing at all may be in trouble, and the settings right.
    assert starts(watch) is not bool(networks)


@pytest.mark.parametrize(("versions", "missing"), [([1], 2), ([2], 1), ([2, 3], 1)])
async def test_a_facilitator_that_takes_one_version_is_named_and_the_other_is_sold(
    facilitator: Facilitator, versions: list[int], missing: int
) -> None:
    facilitator.versions = versions
    facilitator.networks = ["base", "base-sepolia"]
    watch = await findings(facilitator, Node())
    assert f"does not take payments of x402 version {missing} on base-sepolia" in (watch.found.versions or "")
    assert sells(watch) and starts(watch)
    assert watch.found.well, "to ask it more often would not help"
    check = await watch.facilitator()
    assert (check.state, check.critical) == ("unhealthy", False)
    assert f"version {missing}" in check.reason
    facilitator.networks = ["base"]
    assert (await findings(facilitator)).found.versions is None  # there is worse


async def test_a_node_of_another_chain_stops_all_sales(facilitator: Facilitator) -> None:
    watch = await findings(facilitator, Node(chain_id=8453))
    assert "chain 8453" in (watch.found.chain or "")
    assert not sells(watch)
    assert not starts(watch)
    assert (await watch.chain()).critical


LOCAL, HOSTED = None, "https://facilitator.example"


@pytest.mark.parametrize(
    ("extensions", "devnet", "url", "words"),
    [
        ([DEVNET], True, LOCAL, None),
        ([DEVNET], None, LOCAL, None),
        ([], None, HOSTED, None),
        ([], False, HOSTED, None),
        ([], True, LOCAL, None),
        ([DEVNET], False, LOCAL, "/rpc"),
        ([], True, HOSTED, HOSTED),
    ],
)
async def test_half_a_devnet_has_the_right_chain_id_and_sells_nothing(
    facilitator: Facilitator, extensions: list[str], devnet: bool | None, url: str | None, words: str | None
) -> None:
    facilitator.extensions = extensions
    watch = await findings(facilitator, Node(devnet=devnet), url)
    assert (words or "well") in (watch.found.chain or "well")
    assert starts(watch) is sells(watch) is (words is None)


async def test_a_devnet_where_real_money_is_expected_is_named(facilitator: Facilitator) -> None:
    facilitator.extensions = [DEVNET]
    settlement = Settlement(facilitator.url, network_named("base"), timeout_s=20)
    watch = Watch(settlement, None, network_named("base"), facilitator.url)
    with pytest.raises(StartupError, match=r"a devnet, .* does not settle on base, but on eip155:84532"):
        await watch.start()
    await settlement.close()


@pytest.mark.parametrize(
    ("ahead_s", "word", "sold"),
    [(0, None, True), (25, None, True), (60, "behind", True), (-60, "ahead", True), (300, "behind", False)],
)
async def test_a_clock_is_judged_by_the_facilitators(
    facilitator: Facilitator, ahead_s: float, word: str | None, sold: bool
) -> None:
    facilitator.ahead_s = ahead_s
    watch = await findings(facilitator, Node())
    assert (word or "well") in (watch.found.clock or "well")
    assert sells(watch) is sold
    assert (await watch.clock()).critical is (not sold or word is None)


@pytest.mark.parametrize(("ahead_s", "sold"), [(-86_400, True), (20, True), (500, False)])
async def test_a_block_out_of_the_future_shows_a_clock_that_is_late_and_an_old_one_nothing(
    facilitator: Facilitator, ahead_s: float, sold: bool
) -> None:
    facilitator.ahead_s = None
    watch = await findings(facilitator, Node(ahead_s=ahead_s))
    assert sells(watch) is sold


def start_broker(stack: Stack, name: str, facilitator: Facilitator, **more: str) -> Process:
    url = facilitator.url
    return stack.launch("broker", name, X402_FACILITATOR_URL=url, **more).wait_ready()


def ready(broker: Process, **unhealthy: str) -> tuple[int, dict[str, dict[str, str]]]:
    """What it says once just these are unhealthy, with these words; after 20 s whatever it says.

    What it saw a second ago is said again, and on a busy machine a check takes longer than it may.
    """
    deadline = time.monotonic() + 20
    while True:
        answer = httpx.get(broker.url + "/health/ready", trust_env=False, timeout=20)
        told = answer.json()["dependencies"]
        found = {name: one["reason"] for name, one in told.items() if one["status"] == "unhealthy"}
        as_expected = found.keys() == unhealthy.keys()
        as_expected = as_expected and all(words in found[name] for name, words in unhealthy.items())
        if as_expected or time.monotonic() > deadline:
            return answer.status_code, told
        time.sleep(0.2)


def run(broker: Process) -> httpx.Response:
    return httpx.post(broker.url + "/run", json={"code": "print(1)"}, trust_env=False, timeout=20)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("watch")) as running:
        yield running


def test_a_broker_starts_without_its_facilitator_says_so_and_finds_it_later(
    stack: Stack, facilitator: Facilitator
) -> None:
    with facilitator.down():
        broker = start_broker(stack, "alone", facilitator)
        status, told = ready(broker, facilitator="does not answer")
        assert (status, told["facilitator"]["status"]) == (503, "unhealthy")
        assert "does not answer" in told["facilitator"]["reason"]
        assert told["chain"]["status"] == told["clock"]["status"] == told["executor"]["status"] == "healthy"
    assert ready(broker)[0] == 200
    said = broker.output()
    assert said.count('"facilitator_wrong"') == 1
    assert "facilitator_well" in said
    assert "Traceback" not in said
    broker.stop()


@pytest.mark.parametrize(
    ("networks", "ahead_s", "words"),
    [([], 0, {"facilitator": "X402_NETWORK"}), (["base-sepolia"], 400, {"clock": "NTP"})],
    ids=["no network", "a wrong clock"],
)
def test_a_broker_whose_money_could_not_settle_sells_nothing_until_it_can(
    stack: Stack, facilitator: Facilitator, networks: list[str], ahead_s: float, words: dict[str, str]
) -> None:
    facilitator.networks, facilitator.ahead_s = networks, ahead_s
    (word,) = words.values()
    broker = start_broker(stack, f"wrong-{word}", facilitator)
    assert run(broker).status_code == 503  # from the first request on
    status, told = ready(broker, **words)
    (wrong,) = [found["reason"] for found in told.values() if found["status"] == "unhealthy"]
    assert status == 503
    assert word in wrong
    refused = run(broker)
    assert (refused.status_code, refused.json()["code"]) == (503, "payments_unavailable")
    assert refused.headers["Retry-After"]
    assert httpx.post(broker.url + "/run", trust_env=False, timeout=20).status_code == 503
    facilitator.networks, facilitator.ahead_s = ["base-sepolia"], 0
    assert ready(broker)[0] == 200
    assert run(broker).status_code == 402
    facilitator.networks = ["base"]  # it was right when the broker started
    assert ready(broker, facilitator="but on base:")[0] == 503
    time.sleep(1.1)  # so long a 402 is told again
    assert run(broker).status_code == 503
    assert "Traceback" not in broker.output()
    broker.stop()


@pytest.mark.parametrize(
    ("of_devnet", "settings", "words"),
    [
        (False, {}, "does not settle on base-sepolia, but on base:"),
        (
            True,
            {"X402_NETWORK": "base", "CHAIN_RPC_URL": ""},
            "does not settle on base, but on base-sepolia, eip155:84532:",
        ),
    ],
    ids=["a facilitator of real money", "the devnet for real money"],
)
def test_a_broker_whose_facilitator_is_for_another_network_does_not_start(
    stack: Stack, facilitator: Facilitator, of_devnet: bool, settings: dict[str, str], words: str
) -> None:
    facilitator.networks = ["base"]
    url = stack.devnet if of_devnet else facilitator.url
    name = f"refused-{of_devnet}"
    settings = {**settings, "X402_FACILITATOR_URL": url, "GALAKSIO_HOME": str(stack.home / name)}
    broker = stack.launch("broker", name, **settings)
    assert broker.popen.wait(60) != 0
    said = broker.output()
    assert said.count(words) == 1, said
    assert f"The facilitator at {url}" in said
    assert "Traceback" not in said


async def test_a_node_says_whether_it_is_a_devnets(stack: Stack, facilitator: Facilitator) -> None:
    for url, devnet in ((stack.devnet + "/rpc", True), (facilitator.url, None)):
        chain = Chain(url, SEPOLIA)
        head = await chain.head()
        assert (head and head.devnet) is devnet
        await chain.close()


def test_without_payments_there_is_nothing_to_watch(stack: Stack, facilitator: Facilitator) -> None:
    facilitator.networks = []
    broker = start_broker(stack, "free", facilitator, X402_ENABLED="false", X402_WALLET_ADDRESS=HOST_WALLET)
    status, told = ready(broker)
    assert status == 200
    assert {told[name]["status"] for name in ("facilitator", "chain", "clock", "caches")} == {"disabled"}
    broker.stop()
