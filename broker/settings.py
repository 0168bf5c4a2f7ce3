"""Settings of the broker."""

from decimal import Decimal

from pydantic import Field, SecretStr, field_validator

from broker.operations import Mode
from shared.money import usd_to_atomic
from shared.remote import RemoteSettings
from shared.settings import LONG_TOKEN, TOKEN_RULE, names


class BrokerSettings(RemoteSettings):
    """Where the broker listens, whom it asks, and how it is paid."""

    host: str = Field("127.0.0.1", validation_alias=names("BROKER_HOST", "API_HOST"))
    port: int = Field(8080, ge=1, le=65535, validation_alias=names("BROKER_PORT", "API_PORT", "PORT"))
    quote_url: str = Field(
        "http://localhost:8081", validation_alias=names("QUOTE_SERVICE_URL", "QUOTE_ENGINE_URL")
    )
    executor_url: str = Field(
        "http://localhost:8082", validation_alias=names("EXECUTOR_SERVICE_URL", "EXECUTOR_URL")
    )
    public_base_url: str | None = Field(None, validation_alias=names("PUBLIC_BASE_URL"))
    database_url: SecretStr | None = Field(None, validation_alias=names("DATABASE_URL"))

    x402_enabled: bool = Field(True, validation_alias=names("X402_ENABLED"))
    wallet_address: str | None = Field(None, validation_alias=names("X402_WALLET_ADDRESS", "BROKER_WALLET"))
    facilitator_url: str = Field(
        "https://x402.org/facilitator", validation_alias=names("X402_FACILITATOR_URL", "FACILITATOR_URL")
    )
    facilitator_timeout_s: float = Field(20.0, gt=0, le=120, validation_alias=names("FACILITATOR_TIMEOUT_S"))
    chain_rpc_url: str | None = Field(None, validation_alias=names("CHAIN_RPC_URL"))
    exposure_cap_usd: Decimal = Field(Decimal(5), gt=0, validation_alias=names("PAYER_EXPOSURE_USD"))
    lease_s: float = Field(15, ge=1, le=600, validation_alias=names("LEDGER_LEASE_S"))
    rate_limit_per_ip: str = Field("1200/minute", validation_alias=names("RATE_LIMIT_PER_IP"))
    rate_limit_per_payer: str = Field("600/minute", validation_alias=names("RATE_LIMIT_PER_PAYER"))
    trusted_proxies: list[str] = Field(default_factory=list, validation_alias=names("TRUSTED_PROXIES"))
    redis_url: SecretStr | None = Field(None, validation_alias=names("REDIS_URL"))
    memcached_url: SecretStr | None = Field(None, validation_alias=names("MEMCACHED_URL"))
    cache_max_mb: int = Field(64, ge=1, le=100_000, validation_alias=names("CACHE_MAX_MB"))
    cache_token_key: SecretStr | None = Field(None, validation_alias=names("CACHE_TOKEN_KEY"))
    broker_fee_usd: Decimal = Field(Decimal("0.005"), ge=0, le=1000, validation_alias=names("BROKER_FEE_USD"))
    fulfilment: Mode = Field("execute", validation_alias=names("GALAKSIO_FULFILMENT"))
    results_keep_days: int = Field(0, ge=0, le=36_500, validation_alias=names("RESULTS_KEEP_DAYS"))
    offer_ttl_s: int = Field(300, ge=30, le=3600, validation_alias=names("OFFER_TTL_S"))
    operator_token: SecretStr | None = Field(None, validation_alias=names("OPERATOR_TOKEN"))

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("public_base_url", "quote_url", "executor_url", "facilitator_url", "chain_rpc_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("operator_token", "cache_token_key")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not LONG_TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError(TOKEN_RULE)
        return value

    @property
    def operator(self) -> str | None:
        return self.operator_token.get_secret_value() if self.operator_token else None

    @property
    def metrics_tokens(self) -> tuple[str | None, ...]:
        return *super().metrics_tokens, self.operator

    @property
    def cache_max_bytes(self) -> int:
        return self.cache_max_mb * 1024 * 1024

    @property
    def exposure_cap_atomic(self) -> int:
        return usd_to_atomic(self.exposure_cap_usd)

    @property
    def broker_fee_atomic(self) -> int:
        return usd_to_atomic(self.broker_fee_usd)
