"""The token of each cache: derived from the cache's id and a key of the host, so none is ever stored."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from shared.errors import StartupError
from shared.settings import private_folder

PREFIX = "gx_"
KEY_FILE = "cache-token.key"
KEY_BYTES = 32


class Tokens:
    """Makes and checks tokens: `gx_` and base64url(HMAC-SHA256(key, cache id)), 46 characters."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, cache_id: str) -> str:
        """The one token that opens `cache_id`."""
        digest = hmac.digest(self._key, cache_id.encode(), hashlib.sha256)
        return PREFIX + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def check(self, cache_id: str, token: str) -> bool:
        """Whether `token` opens `cache_id`. The time it takes tells nothing about the right one."""
        return hmac.compare_digest(self.of(cache_id).encode(), token.encode("utf-8", "replace"))


def open_tokens(configured: str | None, home: Path) -> Tokens:
    """Tokens by the key in `CACHE_TOKEN_KEY`, else by a file in `home` that is made when there is none.

    Several brokers need the same key. Raises `StartupError` when the file cannot be read or made.
    """
    if configured is not None:
        return Tokens(configured.encode())
    path = private_folder(home) / KEY_FILE
    try:
        key = path.read_bytes() if path.exists() else _make(path)
    except OSError as exc:
        raise StartupError(
            f"The key of the cache tokens {path} cannot be read or made ({exc.strerror}): "
            "make it readable for this user, or set CACHE_TOKEN_KEY."
        ) from None
    if len(key) != KEY_BYTES:
        raise StartupError(f"The key of the cache tokens {path} must have {KEY_BYTES} bytes: restore it.")
    return Tokens(key)


def _make(path: Path) -> bytes:
    """A new key on disk, readable by this user only; of two brokers that start at once, one makes it."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link does not replace what another broker has made meanwhile.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()
