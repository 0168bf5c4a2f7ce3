"""One attack, its neighbour, and the search for what is left. Needs no pytest: it also runs in containers."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.sandbox.engine import Sandbox
from shared.errors import GalaksioError
from shared.jobs import RunResult
from shared.run_payload import parse_run_request
from tests.sandbox.attack import Attack, tail
from tests.sandbox.leftovers import Leftovers
from tests.sandbox.world import World

NOTE = "!namespace"
"""The file in which an attack notes its pid namespace and when that began, for the search afterwards."""
NEIGHBOUR_TIMEOUT_S = 20.0
_NOTES = {
    "python": (Path(__file__).parent / "inside" / "attack_kit.py").read_text(),
    "bash": f"(readlink /proc/self/ns/pid; cut -d' ' -f22 /proc/1/stat) > '/box/out/{NOTE}'\n",
    "javascript": "const fs = require('fs'); "
    f"fs.writeFileSync('/box/out/{NOTE}', fs.readlinkSync('/proc/self/ns/pid') + ' ' + "
    "fs.readFileSync('/proc/1/stat', 'utf8').split(' ')[21]);\n",
}


@dataclass
class Trial:
    """Where attacks are tried. `alone`: one at a time, so that everything that is left belongs to it."""

    sandbox: Sandbox
    world: World
    leftovers: Leftovers
    alone: bool = True
    settle_s: float = 20.0
    namespaces: set[str] = field(default_factory=set)

    async def faults(self, attack: Attack) -> list[str]:
        """What went wrong, in sentences; empty when the sandbox held."""
        attacking = asyncio.create_task(self._attack(attack))
        await asyncio.sleep(attack.warm_up_s)
        served = await self._serve(attack.neighbour)
        faults = [said for said in (await attacking, served) if said]
        if attack.afterwards:
            faults += [f"afterwards, {said}" for said in [await self._serve(attack.afterwards)] if said]
        if not self.alone:
            return faults
        visitors = [f"{name} was reached from inside" for name in self.world.visitors()]
        return faults + visitors + await self.left()

    async def _attack(self, attack: Attack) -> str | None:
        note = _NOTES[attack.language] if attack.kit else ""
        facts = self.world.facts() if re.search(r"world\[|WORLD_", attack.code) else {}
        body = {
            "code": note + attack.code,
            "language": attack.language,
            "timeout": attack.timeout_s,
            **attack.request,
            "env": {**facts, **attack.request.get("env", {})},
        }
        try:
            result = await self._run(body)
        except GalaksioError as exc:
            return attack.refused(exc) if attack.refused else f"a failure of ours: {exc.message}"
        if attack.refused:
            return f"it was not refused ({tail(result)})"
        if self.world.secret in result.model_dump_json():
            return f"the secret came out ({tail(result)})"
        return attack.expect(result)

    async def _serve(self, code: str) -> str | None:
        try:
            result = await self._run({"code": code, "timeout": NEIGHBOUR_TIMEOUT_S})
        except GalaksioError as exc:
            return f"the neighbour was turned away: {exc.message}"
        good = (result.stdout, result.exit_code, result.files) == ("served\n", 0, [])
        return None if good else f"the neighbour was not served ({tail(result)})"

    async def _run(self, body: dict[str, Any]) -> RunResult:
        """A run as it comes over the wire; the note of its namespace is taken out of its files."""
        result = await self.sandbox.run(parse_run_request(body))
        self.namespaces.update(" ".join(file.content.split()) for file in result.files if file.name == NOTE)
        return result.model_copy(update={"files": [file for file in result.files if file.name != NOTE]})

    async def left(self) -> list[str]:
        """What is left of all attacks so far, once there was time to clean up."""
        deadline_s = time.monotonic() + self.settle_s
        # A cgroup is removed off the path of a run, a little later.
        while (left := self.leftovers.found(self.namespaces)) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
        self.namespaces.clear()
        return [f"left behind: {what}" for what in left]
