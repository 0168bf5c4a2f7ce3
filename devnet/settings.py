"""What the devnet reads from the environment (api.md, Everywhere)."""

from pathlib import Path

from pydantic import Field

from shared.errors import StartupError
from shared.networks import Network, network_named
from shared.settings import CommonSettings, names

LOCAL_NETWORK = "base-sepolia"


class DevnetSettings(CommonSettings):
    """`DEVNET_HOST` is loopback unless told otherwise: whoever reaches the port has free test dollars."""

    host: str = Field("127.0.0.1", min_length=1, validation_alias=names("DEVNET_HOST"))
    port: int = Field(8402, ge=1, le=65535, validation_alias=names("DEVNET_PORT"))

    @property
    def state_path(self) -> Path:
        return self.galaksio_home / "devnet.sqlite"


def local_network(settings: DevnetSettings) -> Network:
    """The network that the devnet plays. Raises `StartupError` for any other."""
    if settings.x402_network != LOCAL_NETWORK:
        raise StartupError(
            f"X402_NETWORK is {settings.x402_network}, and the devnet only plays {LOCAL_NETWORK}: unset it, "
            "or run without the devnet and set X402_FACILITATOR_URL."
        )
    return network_named(LOCAL_NETWORK)
