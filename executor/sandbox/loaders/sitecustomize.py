"""Waits in a pooled sandbox for its one job, then leaves the interpreter as if it had just been started.

The interpreter imports this from /tmp on its way to /box/main.py, after everything that does not depend on
the job. It then goes on by itself, so tracebacks, `__main__` and exit codes are those of any start. What this
waits for on its descriptor: "p" (import some modules ahead: the machine is idle), then "j" and the job, in
parts that end with NUL: the number of arguments, the arguments, NAME=VALUE for all of the environment.
"""

import os
import sys

_AHEAD = ("json", "re", "datetime", "random", "collections")


def _take_over() -> None:
    folder = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would be one more module in `sys.modules`
    fd = int(folder.rpartition("-")[2])
    os.unlink(__file__)  # noqa: PTH108
    os.rmdir(folder)  # noqa: PTH106
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    order = os.read(fd, 1)
    while order == b"p":
        for name in _AHEAD:
            __import__(name)
        # At its end the interpreter looks for garbage in all there is: what was imported ahead would make
        # short runs longer than it makes others shorter.
        import gc

        gc.collect()
        gc.freeze()
        order = os.read(fd, 1)
    if order != b"j":
        os._exit(1)  # the executor is gone
    job = b""
    while chunk := os.read(fd, 1 << 16):
        job += chunk
    os.close(fd)
    count, *words = job.split(b"\0")
    args = [os.fsdecode(word) for word in words[: int(count)]]
    sys.argv[1:] = args
    if hasattr(sys, "orig_argv"):
        sys.orig_argv.extend(args)
    environment = dict(word.split(b"=", 1) for word in words[int(count) : -1])
    os.environ.clear()
    os.environb.update(environment)
    raw = sys.modules["posix"].environ  # what `os.environ` was made of
    raw.clear()
    raw.update(environment)


_take_over()
# The interpreter looks for a module of this name: if there is a real one it is found now, and if not, the
# ImportError that says so is what it expects.
del sys.modules["sitecustomize"]
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401
