"""Build the devnet: `create_app(settings)`, `uvicorn devnet.main:app` or `python -m devnet`.

It plays base-sepolia with the same chain id, token address and EIP-712 domain: a signature made here is
valid on the real base-sepolia, so a key that was used here must never be funded there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from devnet.chain import DevnetChain
from devnet.facilitator import Facilitator
from devnet.routes import SERVICE, Devnet, devnet_router
from devnet.settings import DevnetSettings, local_network
from devnet.worker import ChainWorker
from shared.clock import Clock, system_clock
from shared.http import new_app
from shared.logs import get_logger
from shared.serve import lazy_app
from shared.settings import private_folder

log = get_logger(__name__)


def create_app(settings: DevnetSettings, clock: Clock = system_clock) -> FastAPI:
    """Open the state file (made on the first start) and build the app; its lifespan closes the file.

    Raises `StartupError` for another network than base-sepolia and for a file that another process owns.
    """
    network = local_network(settings)
    private_folder(settings.galaksio_home)
    worker = ChainWorker(lambda: DevnetChain(settings.state_path, network, clock))
    facilitator = Facilitator(worker.chain)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log.warning(
            "devnet_started",
            state=str(settings.state_path),
            chain_id=network.chain_id,
            facilitator=facilitator.supported().signers,
            note="Test money only. A signature made here is valid on the real base-sepolia: never fund "
            "these keys, or keys that pay here, on a real network.",
        )
        try:
            yield
        finally:
            worker.close()

    app = new_app(
        SERVICE,
        "The local payment network: a chain with a test dollar, and an x402 facilitator.",
        lifespan,
        cors_origins=settings.cors_origins,
    )
    app.include_router(devnet_router(Devnet(network, worker, facilitator, clock)))
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        # Kept: uvicorn asks twice, and the state file has one owner.
        return globals().setdefault(name, lazy_app(SERVICE, DevnetSettings, create_app))
    raise AttributeError(f"module {__name__} has no attribute {name}")
