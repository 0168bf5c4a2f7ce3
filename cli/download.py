"""Stored content as it comes: to stdout, or whole and checked into a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx

from cli.client import asks_environment, refusal, unreachable
from cli.config import CliError
from shared.ipfs import Builder

TIMEOUT_S = 60.0


def to_stdout(broker_url: str, cid: str) -> None:
    """Raises `CliError` for no answer, a refusal, and an answer that was cut off."""
    with _content(broker_url, cid) as pieces:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def to_file(broker_url: str, cid: str, path: Path, *, verify: bool) -> int:
    """Write the content to `path` and return its size in bytes; what was there stays until it is whole.

    With `verify` it is hashed as IPFS does; raises `CliError` when that comes to another CID.
    """
    part = path.with_name(f".{path.name}.part")
    builder = Builder() if verify else None
    try:
        with part.open("wb") as file, _content(broker_url, cid) as pieces:
            for piece in pieces:
                file.write(piece)
                if builder is not None:
                    builder.update(piece)
            size_bytes = file.tell()
        if builder is not None and (found := builder.finish().cid) != cid:
            raise CliError(f"What came is not {cid} but {found}: nothing was kept.")
        part.replace(path)
    except OSError as exc:
        raise CliError(f"{path} cannot be written: {exc.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    return size_bytes


@contextmanager
def _content(broker_url: str, cid: str) -> Iterator[Iterator[bytes]]:
    try:
        url = f"{broker_url}/files/{quote(cid, safe='')}"
        with httpx.stream("GET", url, timeout=TIMEOUT_S, trust_env=asks_environment(url)) as answer:
            if answer.status_code != 200:
                answer.read()
                raise CliError(refusal(answer))
            yield answer.iter_bytes()
    except httpx.HTTPError as exc:
        raise unreachable(broker_url, exc) from None
