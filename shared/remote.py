"""The remote providers that quote asks and executor has work done by (providers.md, Remote)."""

from typing import Any

from pydantic import Field, field_validator

from shared.settings import CommonSettings, names

REMOTE_PROVIDERS = (
    "xcache",
    "openx402",
    "galaksio_storage",
    "pinata",
    "arweave",
    "merit-systems",
    "akash",
)


class RemoteSettings(CommonSettings):
    """Where the remote providers are. REMOTE_PROVIDERS is `on`, `off`, or the names of those to use."""

    remote_providers: frozenset[str] = Field(
        frozenset(REMOTE_PROVIDERS), validation_alias=names("REMOTE_PROVIDERS")
    )
    xcache_url: str = Field("https://api.xcache.io", validation_alias=names("XCACHE_URL"))
    openx402_url: str = Field("https://ipfs.openx402.ai", validation_alias=names("OPENX402_URL"))
    galaksio_storage_url: str = Field(
        "https://storage.galaksio.cloud", validation_alias=names("GALAKSIO_STORAGE_URL")
    )
    pinata_url: str = Field("https://402.pinata.cloud/v1", validation_alias=names("PINATA_URL"))
    arweave_url: str = Field("https://arweave.net", validation_alias=names("ARWEAVE_URL"))
    coingecko_url: str = Field("https://api.coingecko.com/api/v3", validation_alias=names("COINGECKO_URL"))
    merit_systems_url: str = Field(
        "https://echo.router.merit.systems/resource/e2b/execute", validation_alias=names("MERIT_SYSTEMS_URL")
    )
    akash_url: str = Field(
        "https://console-api.akash.network/v1/pricing", validation_alias=names("AKASH_URL")
    )

    @field_validator("remote_providers", mode="before")
    @classmethod
    def _chosen(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        word = value.strip().lower()
        if word in {"on", "all", "true", "1"}:
            return frozenset(REMOTE_PROVIDERS)
        if word in {"off", "none", "false", "0"}:
            return frozenset()
        chosen = frozenset(name.strip() for name in value.split(",") if name.strip())
        if unknown := chosen - set(REMOTE_PROVIDERS):
            known = ", ".join(REMOTE_PROVIDERS)
            raise ValueError(f"must be on, off or some of {known}; not {', '.join(sorted(unknown))}")
        return chosen

    @field_validator(
        "xcache_url",
        "openx402_url",
        "galaksio_storage_url",
        "pinata_url",
        "arweave_url",
        "coingecko_url",
        "merit_systems_url",
        "akash_url",
    )
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")
