"""What a run is given and who it is on the host. What it may not do: `tests/sandbox`."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest

from executor.sandbox.engine import Sandbox
from tests.executor.conftest import Run, descendants, root_only, until


async def test_the_environment_is_ours_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_SECRET", "leaked")
    result = await run("import json, os; print(json.dumps(dict(os.environ)))")
    assert set(json.loads(result.stdout)) == {"PATH", "HOME", "TMPDIR", "LANG", "USER", "PWD"}


@root_only
async def test_each_slot_has_a_uid_of_its_own_on_the_host(sandbox: Sandbox, run: Run) -> None:
    runs = [asyncio.create_task(run("import time; time.sleep(60)")) for _ in range(2)]
    uids: set[int] = set()

    def those_of_the_slots() -> bool:
        uids.clear()
        for pid in descendants(os.getpid()):
            with contextlib.suppress(FileNotFoundError):
                uids.add(Path(f"/proc/{pid}").stat().st_uid)
        return uids == {60_600, 60_601}

    assert await until(those_of_the_slots), uids
    for task in runs:
        task.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
