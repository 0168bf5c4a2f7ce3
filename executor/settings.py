"""Settings of the executor."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from executor.dependencies.works import LayerOptions
from executor.sandbox.accounting.choose import Choice
from executor.sandbox.options import Options, cores
from executor.sandbox.uids import UID_BASE
from executor.storage.options import StorageOptions
from shared.http import MB
from shared.remote import RemoteSettings
from shared.settings import names

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class ExecutorSettings(RemoteSettings):
    """Seconds and bytes, as named.

    `slots` 0 means one for each core, `memory_mb` 0 three quarters of the machine's, no `pool` twice as many
    for each language as there are cores.
    """

    host: str = Field("127.0.0.1", validation_alias=names("EXECUTOR_HOST"))
    port: int = Field(8082, ge=1, le=65535, validation_alias=names("EXECUTOR_PORT", "PORT"))
    database_url: str | None = Field(None, validation_alias=names("DATABASE_URL"))

    redis_url: SecretStr | None = Field(None, validation_alias=names("REDIS_URL"))
    memcached_url: SecretStr | None = Field(None, validation_alias=names("MEMCACHED_URL"))
    cache_max_mb: int = Field(64, ge=1, le=100_000, validation_alias=names("CACHE_MAX_MB"))

    sandbox: Literal["on", "off"] = Field("on", validation_alias=names("SANDBOX"))
    accounting: Choice = Field("auto", validation_alias=names("EXECUTOR_ACCOUNTING"))
    bwrap: Path | None = Field(None, validation_alias=names("EXECUTOR_BWRAP"))
    uid_base: int = Field(UID_BASE, ge=2, le=2**31, validation_alias=names("EXECUTOR_UID_BASE"))
    slots: int = Field(0, ge=0, le=256, validation_alias=names("EXECUTOR_SLOTS"))
    queue: int = Field(16, ge=0, le=10_000, validation_alias=names("EXECUTOR_QUEUE"))
    max_wait_s: float = Field(10.0, gt=0, le=300, validation_alias=names("EXECUTOR_MAX_WAIT_S"))
    memory_mb: int = Field(0, ge=0, validation_alias=names("EXECUTOR_MEMORY_MB"))
    pool: int | None = Field(None, ge=0, le=32, validation_alias=names("EXECUTOR_POOL"))
    pool_recycle_s: float = Field(600.0, ge=1, validation_alias=names("EXECUTOR_POOL_RECYCLE_S"))
    drain_s: float = Field(30.0, ge=0, le=600, validation_alias=names("EXECUTOR_DRAIN_S"))

    python: Path | None = Field(None, validation_alias=names("EXECUTOR_PYTHON"))
    node: Path | None = Field(None, validation_alias=names("EXECUTOR_NODE"))
    bash: Path | None = Field(None, validation_alias=names("EXECUTOR_BASH"))

    dependencies: Literal["on", "off"] = Field("on", validation_alias=names("EXECUTOR_DEPENDENCIES"))
    index_url: SecretStr | None = Field(None, validation_alias=names("EXECUTOR_INDEX_URL"))
    layers: Path | None = Field(None, validation_alias=names("EXECUTOR_LAYERS"))
    layer_max_bytes: int = Field(2**29, ge=2**20, validation_alias=names("EXECUTOR_LAYER_MAX_BYTES"))
    layers_max_bytes: int = Field(2**32, ge=2**20, validation_alias=names("EXECUTOR_LAYERS_MAX_BYTES"))
    layer_ttl_s: int = Field(86_400, ge=60, validation_alias=names("EXECUTOR_LAYER_TTL_S"))
    builds: int = Field(2, ge=1, le=64, validation_alias=names("EXECUTOR_BUILDS"))
    build_timeout_s: float = Field(30.0, gt=0, le=300, validation_alias=names("EXECUTOR_BUILD_TIMEOUT_S"))

    storage_url: str | None = Field(None, validation_alias=names("STORAGE_URL"))
    storage_max_bytes: int = Field(0, ge=0, validation_alias=names("STORAGE_MAX_BYTES"))
    storage_reserve_bytes: int = Field(2**30, ge=0, validation_alias=names("STORAGE_RESERVE_BYTES"))
    upload_ttl_s: int = Field(3600, ge=60, le=86_400, validation_alias=names("UPLOAD_TTL_S"))
    uploads_at_once: int = Field(16, ge=1, le=1000, validation_alias=names("UPLOADS_AT_ONCE"))
    aws_access_key_id: str | None = Field(None, validation_alias=names("AWS_ACCESS_KEY_ID"))
    aws_secret_access_key: SecretStr | None = Field(None, validation_alias=names("AWS_SECRET_ACCESS_KEY"))
    aws_session_token: SecretStr | None = Field(None, validation_alias=names("AWS_SESSION_TOKEN"))
    aws_region: str | None = Field(None, validation_alias=names("AWS_REGION", "AWS_DEFAULT_REGION"))
    aws_endpoint_url: str | None = Field(
        None, validation_alias=names("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )

    private_key: SecretStr | None = Field(None, validation_alias=names("EXECUTOR_PRIVATE_KEY"))
    wallet_address: str | None = Field(None, validation_alias=names("X402_WALLET_ADDRESS", "BROKER_WALLET"))
    """Whom customers pay: the broker's, known here where both have their settings from one place."""
    httpayer_router_url: str = Field(
        "http://localhost:3000", validation_alias=names("HTTPAYER_ROUTER_URL", "X402_ROUTER_URL")
    )
    httpayer_api_key: SecretStr | None = Field(None, validation_alias=names("HTTPAYER_API_KEY"))
    upstream_max_call_usd: Decimal = Field(
        Decimal(1), gt=0, le=10_000, validation_alias=names("UPSTREAM_MAX_CALL_USD")
    )
    upstream_max_day_usd: Decimal = Field(
        Decimal(20), gt=0, le=1_000_000, validation_alias=names("UPSTREAM_MAX_DAY_USD")
    )
    chain_rpc_url: str | None = Field(None, validation_alias=names("CHAIN_RPC_URL"))

    result_ttl_s: int = Field(86_400, ge=1, validation_alias=names("EXECUTOR_RESULT_TTL_S"))
    results_max: int = Field(10_000, ge=1, validation_alias=names("EXECUTOR_RESULTS_MAX"))
    results_max_bytes: int = Field(2**30, ge=1, validation_alias=names("EXECUTOR_RESULTS_MAX_BYTES"))
    lease_s: float = Field(15.0, gt=0, le=600, validation_alias=names("EXECUTOR_LEASE_S"))

    @field_validator("private_key")
    @classmethod
    def _secp256k1_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        digits = value.get_secret_value().removeprefix("0x")
        if not re.fullmatch("[0-9a-fA-F]{64}", digits) or not 0 < int(digits, 16) < SECP256K1_N:
            raise ValueError("must be a private key: 0x and 64 hex digits")
        return SecretStr(f"0x{digits}")

    @field_validator("httpayer_api_key")
    @classmethod
    def _header_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("must be plain ASCII without spaces")
        return value

    @field_validator("httpayer_router_url", "chain_rpc_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value else value

    @field_validator("index_url")
    @classmethod
    def _http_index(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @property
    def cache_max_bytes(self) -> int:
        return self.cache_max_mb * 1024 * 1024

    @property
    def layer_options(self) -> LayerOptions:
        return LayerOptions(
            home=self.galaksio_home,
            on=self.dependencies == "on",
            folder=self.layers.expanduser().absolute() if self.layers else None,
            index_url=self.index_url.get_secret_value() if self.index_url else None,
            most_bytes=self.layer_max_bytes,
            total_bytes=self.layers_max_bytes,
            ttl_s=self.layer_ttl_s,
            builds=self.builds,
            timeout_s=self.build_timeout_s,
        )

    @property
    def storage_options(self) -> StorageOptions:
        """What is not set here for S3 (a role of the machine, say) obstore finds in the environment."""
        secrets = {"secret_access_key": self.aws_secret_access_key, "token": self.aws_session_token}
        s3 = {
            "access_key_id": self.aws_access_key_id,
            "region": self.aws_region,
            "endpoint": self.aws_endpoint_url,
            **{name: secret.get_secret_value() for name, secret in secrets.items() if secret},
        }
        return StorageOptions(
            home=self.galaksio_home,
            url=self.storage_url,
            database_url=self.database_url,
            s3={name: value for name, value in s3.items() if value},
            max_bytes=self.storage_max_bytes,
            reserve_bytes=self.storage_reserve_bytes,
            max_upload_bytes=self.max_upload_mb * MB,
            upload_ttl_s=self.upload_ttl_s,
            uploads=self.uploads_at_once,
        )

    @property
    def sandbox_options(self) -> Options:
        return Options(
            off=self.sandbox == "off",
            bwrap=self.bwrap,
            accounting=self.accounting,
            slots=self.slots,
            queue=self.queue,
            max_wait_s=self.max_wait_s,
            uid_base=self.uid_base,
            memory_mb=self.memory_mb,
            pool=2 * cores() if self.pool is None else self.pool,
            recycle_s=self.pool_recycle_s,
            drain_s=self.drain_s,
            runtimes={
                "python": self.python,
                "javascript": self.node,
                "bash": self.bash,
                "typescript": self.node,
            },
        )
