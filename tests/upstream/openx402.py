"""A stand-in for openx402 (providers.md): x402 v2; $0.01 for pinning JSON or a file."""

import base64
import hashlib
import json
import uuid
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from tests.upstream.shop import Shop

MAX_BYTES = 100_000_000
GATEWAY = "https://gateway.pinata.cloud/ipfs"


class Openx402(Shop):
    """`pinned` is all content that was paid for, by its hash."""

    def __init__(self, devnet_url: str) -> None:
        super().__init__("openx402", 2, 10_000, devnet_url)
        self.pinned: dict[str, bytes] = {}
        self.app.post("/pin/json")(self._pin_json)
        self.app.post("/pin/file")(self._pin_file)
        self.app.get("/pin/{name}")(self._quote)

    async def _quote(self, request: Request) -> Response:
        async def work() -> dict[str, Any]:
            return {"success": True}

        return await self.sell(request, work)

    async def _pin_json(self, request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError:
            return JSONResponse({"success": False, "error": "not JSON"}, 400)
        content = json.dumps(body, separators=(",", ":")).encode()
        return await self.sell(request, lambda: self._pin(content, "data.json"))

    async def _pin_file(self, request: Request) -> Response:
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                return JSONResponse({"success": False, "error": "no file"}, 400)
            content, name = await file.read(), file.filename or "file"
        if len(content) > MAX_BYTES:
            return JSONResponse({"success": False, "error": "too large"}, 413)
        return await self.sell(request, lambda: self._pin(content, name))

    async def _pin(self, content: bytes, name: str) -> dict[str, Any]:
        ipfs_hash = cid_of(content)
        self.pinned[ipfs_hash] = content
        return {
            "success": True,
            "id": str(uuid.uuid4()),
            "filename": name,
            "ipfsHash": ipfs_hash,
            "ipfsUrl": f"{GATEWAY}/{ipfs_hash}",
            "pinataUrl": f"https://app.pinata.cloud/pinmanager?search={ipfs_hash}",
        }


def cid_of(content: bytes) -> str:
    """The CIDv1 of one raw block."""
    multihash = b"\x01\x55\x12\x20" + hashlib.sha256(content).digest()
    return "b" + base64.b32encode(multihash).decode().lower().rstrip("=")
