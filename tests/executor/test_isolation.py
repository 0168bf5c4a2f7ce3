"""Attacks from the inside. Each must fail, and would succeed without the defence it is aimed at."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.engine import Sandbox
from tests.executor.conftest import Run, descendants, root_only

SYSCALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
    return errno.errorcode.get(ctypes.get_errno(), 'OK') if result == -1 else 'OK'
"""


async def test_no_privileges_and_the_filter_as_seen_from_inside(run_any: Run) -> None:
    result = await run_any("cat /proc/self/status; ulimit -n; ulimit -u; ulimit -c", "bash")
    fields = dict(line.split(":\t") for line in result.stdout.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert result.stdout.splitlines()[-3:] == ["256", "64", "0"]


async def test_the_environment_is_ours_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_SECRET", "leaked")
    result = await run("import json, os; print(json.dumps(dict(os.environ)))")
    assert set(json.loads(result.stdout)) == {"PATH", "HOME", "TMPDIR", "LANG", "USER", "PWD"}


async def test_no_descriptor_of_the_executor_is_inherited(run: Run, tmp_path: Path) -> None:
    secret = (tmp_path / "secret").open("w")
    os.set_inheritable(secret.fileno(), True)
    code = "import os; fds = '/proc/self/fd/'\n"
    code += "print(sorted(int(n) for n in os.listdir(fds) if os.path.exists(fds + n)))"
    result = await run(code)
    secret.close()
    assert result.stdout == "[0, 1, 2]\n"


async def test_only_its_own_processes_are_seen(run: Run) -> None:
    result = await run("import os; print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))")
    assert result.stdout == "[1, 2]\n"


@pytest.mark.parametrize("path", ["/root", "/home", "/etc/shadow", "/work", "/var", "/sys", "/run", "/opt"])
async def test_host_files_are_not_there(run: Run, path: str) -> None:
    result = await run("import os, sys; os.stat(sys.argv[1])", args=[path])
    assert result.exit_code == 1 and "No such file" in result.stderr


async def test_the_init_of_the_sandbox_shows_nothing_of_the_host(run: Run) -> None:
    code = "import os; root = os.listdir('/proc/1/root')\n"
    code += "print(repr(open('/proc/1/environ').read()), root == os.listdir('/'))"
    assert (await run(code)).stdout == "'' True\n"


async def test_etc_holds_no_account_of_the_host(run: Run) -> None:
    result = await run("cat /etc/passwd; ls /etc", "bash")
    assert "root" not in result.stdout
    assert "shadow" not in result.stdout


async def test_everything_but_the_three_folders_is_read_only(run: Run) -> None:
    code = """
import os
for place in "/", "/usr", "/usr/bin", "/etc", "/dev", "/proc", "/box", "/tmp", "/dev/shm", "/box/out":
    try:
        open(place + "/x", "w").close(); print(place)
    except OSError: pass
"""
    assert (await run(code)).stdout.split() == ["/box", "/tmp", "/dev/shm", "/box/out"]


async def test_a_run_finds_nothing_of_the_run_before_it(run: Run) -> None:
    await run("echo mine | tee /tmp/left /box/left /dev/shm/left", "bash")
    result = await run("ls /tmp /box /dev/shm", "bash")
    assert "left" not in result.stdout


@pytest.mark.parametrize(("place", "megabytes"), [("/box", 64), ("/tmp", 64), ("/dev/shm", 64)])
async def test_its_folders_are_of_limited_size(run: Run, place: str, megabytes: int) -> None:
    result = await run(f"head -c 200M /dev/zero > {place}/big; stat -c %s {place}/big", "bash")
    assert int(result.stdout) <= megabytes << 20
    assert "No space left" in result.stderr


@pytest.fixture
def listener() -> Iterator[int]:
    """A TCP server of the host on loopback; its accept count must stay 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_no_network_of_any_kind(run: Run, listener: int) -> None:
    name = f"\0galaksio-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(name)
        host.listen()
        code = f"""
import socket
def attempt(what, call):
    try: call(); print(what, "WORKED")
    except OSError as e: print(what, "refused")
def tcp(): socket.create_connection(("127.0.0.1", {listener}), 2)
def outside(): socket.create_connection(("1.1.1.1", 53), 2)
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))
def ipv6(): socket.create_connection(("2606:4700:4700::1111", 53), 2)
def dns(): socket.getaddrinfo("example.com", 80)
def abstract(): socket.socket(socket.AF_UNIX).connect({name!r})
for f in tcp, outside, udp, ipv6, dns, abstract: attempt(f.__name__, f)
"""
        result = await run(code)
    assert "WORKED" not in result.stdout
    assert result.stdout.count("refused") == 6, result.stderr


async def test_the_attacks_on_the_network_work_outside_of_a_sandbox(listener: int) -> None:
    name = f"\0galaksio-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as host, socket.socket(socket.AF_UNIX) as client:
        host.bind(name)
        host.listen()
        client.connect(name)
    socket.create_connection(("127.0.0.1", listener), 2).close()


@pytest.mark.parametrize(
    ("family", "kind"),
    [("40", "1"), ("16", "3"), ("17", "3"), ("2", "3"), ("10", "3"), ("38", "5"), ("1", "3")],
)
async def test_sockets_other_than_plain_unix_and_inet_are_refused(run: Run, family: str, kind: str) -> None:
    code = "import socket, sys\ntry: socket.socket(int(sys.argv[1]), int(sys.argv[2])); print('OPEN')\n"
    code += "except OSError as e: print(e.errno)"
    result = await run(code, args=[family, kind])
    assert result.stdout.strip() in {"93", "97"}


async def test_local_sockets_still_work(run: Run) -> None:
    code = """
import socket, threading
a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1))
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); print("tcp")
"""
    assert (await run(code)).stdout == "b'x'\ntcp\n"


DENIED = {
    "unshare(user)": (272, 0x10000000),
    "unshare(net)": (272, 0x40000000),
    "clone(user)": (56, 0x10000000 | 17),
    "setns": (308, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "fsopen": (430, 0, 0),
    "move_mount": (429, 0, 0, 0, 0, 0),
    "pivot_root": (155, 0, 0),
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 1),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "clock_settime": (227, 0, 0),
    "personality(no aslr)": (135, 0x0040000),
    "ioctl(TIOCSTI)": (16, 0, 0x5412, 0),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are of x86_64")
async def test_dangerous_system_calls_are_refused(run: Run) -> None:
    code = SYSCALL + f"for name, args in {DENIED!r}.items(): print(name, call(*args), sep='=')"
    result = await run(code)
    assert dict(line.split("=") for line in result.stdout.splitlines()) == dict.fromkeys(DENIED, "EPERM")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are of x86_64")
async def test_clone3_and_calls_of_the_future_do_not_exist(run: Run) -> None:
    code = SYSCALL + "print(call(435, 0, 0), call(467, 0), call(1000, 0), call(0x40000000 + 39))"
    assert (await run(code)).stdout.split() == ["ENOSYS"] * 4


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are of x86_64")
async def test_uncounted_memory_is_denied_only_where_the_watchdog_counts(
    run_any: Run, any_sandbox: Sandbox
) -> None:
    code = SYSCALL + "print(call(319, id(b'x') + 32, 0), call(29, 0, 4096, 0o1600), call(68, 0, 0o1600))"
    expected = "EPERM" if "watchdog" in any_sandbox.isolation else "OK"
    assert (await run_any(code)).stdout.split() == [expected] * 3


async def test_kill_minus_one_reaches_only_its_own(run: Run) -> None:
    neighbour = asyncio.create_task(run("import time; time.sleep(0.7); print('spared')"))
    code = "import os, signal, time\nif os.fork() == 0: time.sleep(9)\n"
    code += "os.kill(-1, signal.SIGKILL)\nprint(os.wait()[1])"
    assert (await run(code)).stdout == "9\n"
    assert (await neighbour).stdout == "spared\n"


@root_only
async def test_each_slot_has_a_uid_of_its_own_on_the_host(sandbox: Sandbox, run: Run) -> None:
    runs = [asyncio.create_task(run("import time; time.sleep(0.6)")) for _ in range(2)]
    await asyncio.sleep(0.35)
    uids = set()
    for pid in descendants(os.getpid()):
        uids.add(Path(f"/proc/{pid}").stat().st_uid)
    await asyncio.gather(*runs)
    assert uids == {60_600, 60_601}


async def test_a_run_is_the_first_to_die_when_the_machine_runs_out_of_memory(run_any: Run) -> None:
    assert (await run_any("print(open('/proc/self/oom_score_adj').read().strip())")).stdout == "1000\n"
