"""Try the attacks without pytest: `python -m tests.sandbox [name ...]`, as whoever starts it.

Prints one JSON object: the isolation, and for every attack what went wrong, `[]` when it held. Four at a
time, so that only a run's own leavings can be told from its neighbours': the rest is looked for at the end.
"""

import asyncio
import json
import sys

from executor.sandbox.engine import Options, Sandbox
from tests.sandbox.attack import Attack
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.leftovers import Leftovers, own_uids, settled
from tests.sandbox.trial import Trial
from tests.sandbox.world import a_world

AT_A_TIME = 3
SLOTS = 2 * AT_A_TIME


async def faults_of(attacks: list[Attack], settle_s: float = 20.0) -> dict[str, object]:
    with own_uids() as uid_base, a_world() as world:
        sandbox = Sandbox(Options(slots=SLOTS, queue=64, max_wait_s=60, uid_base=uid_base, pool=2))
        await sandbox.open()
        if sandbox.state != "available":
            return {"unavailable": sandbox.reason}
        trial = Trial(sandbox, world, Leftovers(await settled(sandbox)), alone=False, settle_s=settle_s)
        turn = asyncio.Semaphore(AT_A_TIME)

        async def one(attack: Attack) -> tuple[str, list[str] | str]:
            if reason := attack.only() or missing(sandbox, attack):
                return attack.name, reason
            async with turn:
                return attack.name, await trial.faults(attack)

        try:
            found = dict(await asyncio.gather(*map(one, attacks)))
            visitors = [f"{name} was reached from inside" for name in world.visitors()]
            return {
                "isolation": sandbox.isolation,
                "attacks": found,
                "afterwards": visitors + await trial.left(),
            }
        finally:
            await sandbox.close()


def missing(sandbox: Sandbox, attack: Attack) -> str | None:
    return None if attack.language in sandbox.runtimes else f"no {attack.language} on this machine"


if __name__ == "__main__":
    chosen = [ATTACKS[name] for name in sys.argv[1:]] or list(ATTACKS.values())
    sys.stdout.write(json.dumps(asyncio.run(faults_of(chosen))) + "\n")
