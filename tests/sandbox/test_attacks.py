"""Every attack of the table, each beside a neighbour that must be served, with nothing left behind."""

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from executor.sandbox.engine import Options, Sandbox
from tests.sandbox.attack import Attack
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.leftovers import Leftovers, own_uids
from tests.sandbox.trial import Trial
from tests.sandbox.world import a_world

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="runs need Linux"),
    pytest.mark.asyncio(loop_scope="module"),
]
SLOTS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trial() -> AsyncIterator[Trial]:
    with own_uids() as uid_base, a_world() as world:
        sandbox = Sandbox(Options(slots=SLOTS, uid_base=uid_base))
        await sandbox.open()
        assert sandbox.state == "available", sandbox.reason
        yield Trial(sandbox, world, Leftovers(sandbox))
        await sandbox.close()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_holds(trial: Trial, attack: Attack) -> None:
    if reason := attack.only():
        pytest.skip(reason)
    if attack.language not in trial.sandbox.runtimes:
        pytest.skip(f"no {attack.language} on this machine")
    assert await trial.faults(attack) == []
