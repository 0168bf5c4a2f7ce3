"""Settings of the quote service, the price book of the embedded providers among them."""

from pydantic import Field, SecretStr

from shared.money import MAX_ATOMIC
from shared.remote import RemoteSettings
from shared.settings import names


def _price(default: int, name: str) -> int:
    field: int = Field(default, gt=0, le=MAX_ATOMIC, validation_alias=names(name))
    return field


class QuoteSettings(RemoteSettings):
    """Prices are atomic units: 10^-6 USD."""

    host: str = Field("127.0.0.1", validation_alias=names("QUOTE_HOST"))
    port: int = Field(8081, ge=1, le=65535, validation_alias=names("QUOTE_PORT", "PORT"))
    executor_url: str = Field(
        "http://localhost:8082", validation_alias=names("EXECUTOR_SERVICE_URL", "EXECUTOR_URL")
    )
    deadline_s: float = Field(3.0, gt=0, le=60, validation_alias=names("QUOTE_DEADLINE_S"))
    valid_s: int = Field(300, ge=10, le=86400, validation_alias=names("QUOTE_VALID_S"))

    cache_ttl_s: float = Field(300.0, gt=0, le=86_400, validation_alias=names("QUOTE_CACHE_TTL_S"))
    redis_url: SecretStr | None = Field(None, validation_alias=names("REDIS_URL"))

    run_base_atomic: int = _price(200, "PRICE_RUN_BASE_ATOMIC")
    run_gb_second_atomic: int = _price(20, "PRICE_RUN_GB_SECOND_ATOMIC")
    run_dependencies_atomic: int = _price(1_000, "PRICE_RUN_DEPENDENCIES_ATOMIC")
    store_base_atomic: int = _price(100, "PRICE_STORE_BASE_ATOMIC")
    store_gb_day_atomic: int = _price(1_000, "PRICE_STORE_GB_DAY_ATOMIC")
    store_gb_permanent_atomic: int = _price(2_000_000, "PRICE_STORE_GB_PERMANENT_ATOMIC")
    cache_atomic: int = _price(10_000, "PRICE_CACHE_ATOMIC")
