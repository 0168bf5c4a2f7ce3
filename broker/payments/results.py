"""Results made durable before they are paid: small ones in the job's row, large ones in a file."""

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.payments.records import JobRow, KeptResult
from shared.settings import private_folder

INLINE_BYTES = 256 * 1024
"""A larger result is spooled to disk, so that the ledger stays small."""


class Results:
    """Keeps results in `folder` (shared by all brokers on one ledger) and reads them back."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)

    async def keep(self, job_id: str, response: dict[str, Any]) -> KeptResult:
        """Durable once this returns: a file is complete under its name or not there at all."""
        text = json.dumps(response, separators=(",", ":"), ensure_ascii=False)
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        if len(data) <= INLINE_BYTES:
            return KeptResult(text, None, digest)
        name = f"{job_id}.json"
        await asyncio.to_thread(self._write, name, data)
        return KeptResult(None, name, digest)

    async def read(self, job: JobRow) -> bytes | None:
        """The JSON text of a job's answer in UTF-8, exactly as it was kept; None when there is none."""
        if not job.has_result:
            return None
        if job.response is not None:
            return job.response.encode()
        return await asyncio.to_thread((self._folder / str(job.response_file)).read_bytes)

    async def erase(self, files: Sequence[str]) -> None:
        """Delete spooled results. One that is not there is no matter. Raises `OSError`."""
        await asyncio.to_thread(self._erase, files)

    def _erase(self, files: Sequence[str]) -> None:
        for name in files:
            (self._folder / name).unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        temporary = self._folder / f".{name}.{os.getpid()}"
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
