"""Stored content as it comes: to stdout, or whole and checked into a file."""

import sys
from pathlib import Path

from cli.client import asking
from cli.config import CliError


def to_stdout(broker_url: str, cid: str) -> None:
    """Raises `CliError` for no answer, a refusal, and an answer that was cut off."""
    with asking(broker_url) as client:
        for piece in client.stream(cid, verify=False):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def to_file(broker_url: str, cid: str, path: Path, *, verify: bool) -> int:
    """Write the content to `path` and return its size in bytes; what was there stays until it is whole.

    With `verify` it is hashed as IPFS does; raises `CliError` when that comes to another CID.
    """
    try:
        with asking(broker_url) as client:
            return client.download(cid, path, verify=verify)
    except OSError as exc:
        raise CliError(f"{path} cannot be written: {exc.strerror}.") from None
