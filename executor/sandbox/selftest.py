"""Try the real thing: a sandbox that looks around from the inside and tells what it sees."""

from executor.sandbox.rlimits import shell_program

# Built-ins only: what is tested is the sandbox, not the programs in it.
SHELL = r"""
seen() { echo "$1=$2"; }
while read -r key value; do
  case $key in Seccomp:|NoNewPrivs:|CapEff:) seen "$key" "$value";; esac
done < /proc/self/status
count=0
for process in /proc/[0-9]*; do count=$((count + 1)); done
seen processes "$count"
interfaces=
while read -r name rest; do
  case $name in *:) interfaces="$interfaces$name";; *:*) interfaces="$interfaces${name%%:*}:";; esac
done < /proc/net/dev
seen interfaces "$interfaces"
for place in / /usr /etc /dev; do
  if ( : > "$place/galaksio-probe" ) 2>/dev/null; then seen writable "$place"; fi
done
for place in /box /tmp /dev/shm; do
  if ! ( : > "$place/galaksio-probe" ) 2>/dev/null; then seen unwritable "$place"; fi
done
seen nproc "$(ulimit -u 2>/dev/null || ulimit -p)"
seen done 1
"""

PYTHON = r"""
import os, resource
def seen(k, v): print(f"{k}={v}")
for line in open("/proc/self/status"):
    if line.startswith(("Seccomp:", "NoNewPrivs:", "CapEff:")): seen(*line.split())
seen("processes", sum(n.isdigit() for n in os.listdir("/proc")))
seen("interfaces", "".join(l.split(":")[0].strip() + ":" for l in open("/proc/net/dev") if ":" in l))
def can(place):
    try: open(place + "/galaksio-probe", "w"); return True
    except OSError: return False
for p in "/", "/usr", "/etc", "/dev":
    if can(p): seen("writable", p)
for p in "/box", "/tmp", "/dev/shm":
    if not can(p): seen("unwritable", p)
seen("nproc", resource.getrlimit(resource.RLIMIT_NPROC)[0])
seen("done", 1)
"""

_EXPECTED = {
    "Seccomp:": ("2", "the seccomp filter is not in force"),
    "NoNewPrivs:": ("1", "programs can gain privileges"),
    "CapEff:": ("0000000000000000", "the run has capabilities"),
    "interfaces": ("lo:", "the run has a network"),
    "done": ("1", "the self-test did not come to its end"),
}
MOST_PROCESSES = 4
"""Init, the shell and its children; a shared /proc shows many more, and pid 2 of the kernel."""


def flaw(stdout: str, processes: int) -> str | None:
    """What the inside showed to be wrong, or None. `processes` is the limit that must be seen."""
    seen: dict[str, str] = {}
    for line in stdout.splitlines():
        key, _, value = line.partition("=")
        if key in ("writable", "unwritable"):
            return f"{value} is {key} inside the sandbox"
        seen[key] = value
    for key, (value, meaning) in _EXPECTED.items():
        if seen.get(key) != value:
            return meaning
    if not 1 <= int(seen["processes"]) <= MOST_PROCESSES:
        return "the run sees processes of the host"
    if seen.get("nproc") != str(processes):
        return "the limit of processes is not in force"
    return None


def probe_command(python: str | None) -> list[str]:
    """The self-test as a command. `LookupError` when there is neither a shell nor Python."""
    if shell := shell_program():
        return [shell, "-c", SHELL]
    if python:
        return [python, "-I", "-c", PYTHON]
    raise LookupError("neither /bin/sh nor python3 can be started here")
