"""What stands around the sandbox for attacks to reach for: secrets, listeners, shared memory."""

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

ENV_NAME = "EXECUTOR_ATTACK_SECRET"
IPC_RMID = 0
_libc = ctypes.CDLL(None, use_errno=True)


class World:
    """Baits of this process. `secret` must turn up in no result; `visitors` tells who got through."""

    def __init__(self) -> None:
        self.secret = f"secret-{secrets.token_hex(8)}"
        # Readable for everybody: what keeps a run away must be the sandbox.
        self.folder = Path(tempfile.mkdtemp(prefix="galaksio-bait-"))
        self.folder.chmod(0o755)
        self.file = self.folder / "secret"
        self.file.write_text(self.secret)
        self.file.chmod(0o644)
        self.descriptor = os.open(self.file, os.O_RDONLY)
        os.set_inheritable(self.descriptor, True)
        os.environ[ENV_NAME] = self.secret
        self._listeners = {
            "tcp": socket.create_server(("127.0.0.1", 0)),
            "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "path": socket.socket(socket.AF_UNIX),
            "abstract": socket.socket(socket.AF_UNIX),
        }
        self._listeners["udp"].bind(("127.0.0.1", 0))
        self._listeners["path"].bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        self._abstract = f"galaksio-bait-{secrets.token_hex(8)}"
        self._listeners["abstract"].bind(f"\0{self._abstract}")
        for name, listener in self._listeners.items():
            listener.setblocking(False)
            if name != "udp":
                listener.listen()
        self._shm_key = secrets.randbelow(1 << 30) + 1
        self._shm = _libc.shmget(self._shm_key, 4096, 0o1666)

    def facts(self) -> dict[str, str]:
        """The request's environment: where the baits are, never what they hold."""
        facts = {
            "TCP": self._listeners["tcp"].getsockname()[1],
            "UDP": self._listeners["udp"].getsockname()[1],
            "PATH": self.folder / "socket",
            "ABSTRACT": self._abstract,
            "FOLDER": self.folder,
            "PID": os.getpid(),
            "SHM": self._shm_key,
        }
        return {f"WORLD_{name}": str(value) for name, value in facts.items()}

    def visitors(self) -> list[str]:
        """The listeners that somebody reached since they were asked last."""
        found = []
        for name, listener in self._listeners.items():
            with contextlib.suppress(BlockingIOError):
                if name == "udp":
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                found.append(name)
        return found

    def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        if self._shm >= 0:
            _libc.shmctl(self._shm, IPC_RMID, None)
        os.close(self.descriptor)
        os.environ.pop(ENV_NAME, None)
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_system_v(key: int) -> None:
    """What a run without an IPC namespace of its own made under `key`."""
    if (found := _libc.shmget(key, 0, 0)) >= 0:
        _libc.shmctl(found, IPC_RMID, None)
    if (found := _libc.semget(key, 0, 0)) >= 0:
        _libc.semctl(found, 0, IPC_RMID)
    if (found := _libc.msgget(key, 0)) >= 0:
        _libc.msgctl(found, IPC_RMID, None)


@contextlib.contextmanager
def a_world() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()
