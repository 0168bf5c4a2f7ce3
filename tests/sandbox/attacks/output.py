"""Standard output and standard error: too much of it, odd bytes in it, lies in it."""

import base64

from executor.sandbox.limits import LIMITS
from shared.jobs import RunResult
from tests.sandbox.attack import Attack, Verdict, says, tail

# 40 MiB at most: more than a run may say, little enough to be survived without the limit.
FLOOD = "import sys\nfor _ in range(640): sys.{0}.write('x' * 65536)\nsys.{0}.flush()\n"
CHORUS = """
def shout():
    for _ in range(160): os.write(1, b'x' * 65536)
for child in [spawn(shout) for _ in range(8)]: os.waitpid(child, 0)
"""
FORGED = r"""
import json
lies = [{"child-pid": 1}, {"exit-code": 0}, {"exitCode": 0, "stdout": "forged", "oomKilled": False}]
text = ''.join(json.dumps(lie) + '\n' for lie in lies).encode() + b'\x00\x00\x00\x04done'
written = []
for fd in range(3, 256):
    with contextlib.suppress(OSError): os.write(fd, text); written.append(fd)
for process in (name for name in os.listdir('/proc') if name.isdigit()):
    with contextlib.suppress(OSError):
        for fd in os.listdir(f'/proc/{process}/fd'):
            if process == str(os.getpid()): continue
            with contextlib.suppress(OSError):
                end = os.open(f'/proc/{process}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK)
                os.write(end, b''); written.append(fd)
os.write(1, text)
os.write(2, repr(written).encode())
os._exit(7)
"""
FORGED_TEXT = (
    b'{"child-pid": 1}\n{"exit-code": 0}\n{"exitCode": 0, "stdout": "forged", "oomKilled": false}\n'
    b"\0\0\0\4done"
)
BYTES = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 2)"
BROKEN = "import sys; sys.stdout.buffer.write(b'a\\xff\\xc3\\x28\\xed\\xa0\\x80\\x00\\x1b[2Jz')"
CLOSED = "import os, time\nos.close(0); os.close(1)\ntime.sleep(0.2)\nos.write(2, b'still here')\nos._exit(5)"
UNBLOCKED = """
import fcntl
for fd in range(3): os.set_blocking(fd, False)
with contextlib.suppress(OSError): fcntl.fcntl(1, 1031, 4096)
with contextlib.suppress(OSError): fcntl.fcntl(0, 1031, 4096)
sent = 0
while sent < 300000:
    with contextlib.suppress(BlockingIOError): sent += os.write(1, b'x' * 4096)
"""


def flooded(result: RunResult) -> Verdict:
    cut = result.truncated.stdout or result.truncated.stderr
    kept = max(len(result.stdout), len(result.stderr)) == LIMITS.output_kept_bytes
    held = cut and kept and result.signal == "SIGKILL" and not result.timed_out
    return None if held else f"the flood was not stopped ({tail(result)[:300]})"


def honest(result: RunResult) -> Verdict:
    """The exit code is what the kernel said, and nobody but the run's own pipes was written to."""
    real = (result.exit_code, result.signal, result.files) == (7, None, [])
    written = result.stderr.startswith("[") and result.stdout == FORGED_TEXT.decode()
    return None if real and written else f"the lies were believed ({tail(result)})"


def exact(result: RunResult) -> Verdict:
    same = base64.b64decode(result.stdout) == bytes(range(256)) * 2
    return None if same else f"bytes were damaged ({tail(result)})"


def readable(result: RunResult) -> Verdict:
    held = result.stdout.startswith("a\ufffd") and result.stdout.endswith("\0\x1b[2Jz")
    return None if held else f"said {result.stdout!r}"


def still_here(result: RunResult) -> Verdict:
    held = (result.exit_code, result.stderr) == (5, "still here")
    return None if held else f"it was ended by its closed stdout ({tail(result)})"


def whole(result: RunResult) -> Verdict:
    held = result.exit_code == 0 and len(result.stdout) == LIMITS.output_kept_bytes
    return None if held else f"output was lost ({tail(result)[:300]})"


ATTACKS = [
    Attack("flood of stdout", FLOOD.format("stdout"), flooded),
    Attack("flood of stderr", FLOOD.format("stderr"), flooded),
    Attack("flood from many processes", CHORUS, flooded, warm_up_s=0.05),
    Attack("forged results on every descriptor", FORGED, honest),
    Attack("every byte there is", BYTES, exact, request={"encoding": "base64"}),
    Attack("broken UTF-8 and terminal escapes", BROKEN, readable),
    Attack("stdout closed early", CLOSED, still_here),
    Attack("pipes made small and non-blocking", UNBLOCKED, whole),
    Attack("a stdin that nobody reads", "print('done')", says("done\n"), request={"stdin": "x" * 1_000_000}),
]
