"""Every attack of the table, each beside a neighbour that must be served, with nothing left behind."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from executor.sandbox.engine import Options, Sandbox
from tests.sandbox.attack import Attack
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.leftovers import Leftovers, begun, own_uids, settled
from tests.sandbox.trial import Trial
from tests.sandbox.world import a_world

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="runs need Linux"),
    pytest.mark.asyncio(loop_scope="module"),
]
SLOTS = 4


# What differs when the sandbox starts for its run: how code, environment and descriptors get in.
DIRECT = (
    *("fork bomb", "kill of its init", "memory by heap", "forged results on every descriptor"),
    *("secrets in the environment", "secrets behind inherited descriptors", "secrets of other processes"),
    *("results folder linked to the host", "files for the next run", "eight megabytes of code"),
    *("raising its own limits", "flood of descriptors", "node's environment", "bash's environment"),
)


@asynccontextmanager
async def a_trial(pool: int) -> AsyncIterator[Trial]:
    with own_uids() as uid_base, a_world() as world:
        sandbox = Sandbox(Options(slots=SLOTS, uid_base=uid_base, pool=pool))
        await sandbox.open()
        assert sandbox.state == "available", sandbox.reason
        yield Trial(sandbox, world, Leftovers(await settled(sandbox)))
        await sandbox.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pooled() -> AsyncIterator[Trial]:
    async with a_trial(pool=2) as trial:
        yield trial


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def direct(pooled: Trial) -> AsyncIterator[Trial]:
    await begun(pooled.sandbox)  # what it still starts would be taken for ours
    async with a_trial(pool=0) as trial:
        yield trial


async def holds(trial: Trial, attack: Attack) -> None:
    if reason := attack.only():
        pytest.skip(reason)
    if attack.language not in trial.sandbox.runtimes:
        pytest.skip(f"no {attack.language} on this machine")
    assert await trial.faults(attack) == []


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_holds(pooled: Trial, attack: Attack) -> None:
    await holds(pooled, attack)


@pytest.mark.parametrize("name", DIRECT)
async def test_holds_without_a_pool(direct: Trial, name: str) -> None:
    await holds(direct, ATTACKS[name])
