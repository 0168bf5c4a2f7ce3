"""A price as it travels from the quote service to the broker (api.md, Quote)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.money import MAX_ATOMIC

Kind = Literal["compute", "storage", "cache"]
OPERATIONS: dict[str, Kind] = {
    "execute": "compute",
    "run": "compute",
    "compute": "compute",
    "store": "storage",
    "storage": "storage",
    "cache": "cache",
}


EXECUTOR_BUSY = "executor_busy"
"""The code of a refusal that ends by itself, as soon as a slot or a place in the queue is free."""
EXECUTOR_FUNDS = "executor_funds"
"""The code of a refusal that ends when the executor may spend enough again."""
PROVIDER_FAILING = "provider_failing"
"""The code of a refusal that ends when a provider that kept failing answers again."""
PROVIDER_DISABLED = "provider_disabled"
MAX_RETRY_S = 3600


class Refusal(BaseModel):
    """Why something that is shown cannot be bought now.

    `code` is stable and machine-readable, `reason` is for people. `retry_after_s` is null where waiting
    does not help: this host does not do that work for anybody.
    """

    model_config = ConfigDict(frozen=True)

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    reason: str
    retry_after_s: int | None = Field(None, ge=1, le=MAX_RETRY_S)


class Quote(BaseModel):
    """One provider's price. `price_usd` is `price_atomic` (10^-6 USD) written as a decimal string.

    `recipient` is null when the host itself sells the work: the broker's wallet is paid.
    `executable` is false for a price that is shown for comparison but cannot be bought here, and `refusal`
    says why; `settle` is `before` for work that makes the executor pay somebody else. `not_chosen` says why
    another one is the best. `x402_instructions` is how a client could pay the provider itself:
    `{x402Version, method, url, headers, body, accepts}`.
    """

    model_config = ConfigDict(extra="allow")

    provider: str
    kind: Kind
    price_usd: str
    price_atomic: int = Field(strict=True, gt=0, le=MAX_ATOMIC)
    currency: str = "USDC"
    network: str
    recipient: str | None = None
    x402_instructions: dict[str, Any] | None = None
    valid_until: str
    executable: bool = True
    refusal: Refusal | None = None
    settle: Literal["after", "before"] = "after"
    not_chosen: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class Declined(BaseModel):
    """A provider that named no price, and why.

    `retry_after_s` is null where waiting does not help: it does not sell this to anybody.
    """

    provider: str
    kind: Kind
    reason: str
    retry_after_s: int | None = Field(None, ge=1, le=MAX_RETRY_S)


class QuoteList(BaseModel):
    """All answers in the order of choice. `best` is the first, or null when none can be bought."""

    quotes: list[Quote]
    best: Quote | None = None
    count: int
    declined: list[Declined] = Field(default_factory=list)


class Comparison(QuoteList):
    """All prices for one operation."""

    operation: str

    def lists(self) -> list[QuoteList]:
        return [self]


class StoreComparison(Comparison):
    """All prices for storing; `file_size_mb` is in 10^6 bytes."""

    file_size_mb: float


class Hybrid(BaseModel):
    """Prices of a run and of storing. The total is that of both bests.

    `reason` says why there is no total, or why it is not to be bought.
    """

    operation: Literal["hybrid"] = "hybrid"
    compute: Comparison
    storage: StoreComparison
    total_price_usd: str | None = None
    total_price_atomic: int | None = None
    reason: str | None = None

    def lists(self) -> list[QuoteList]:
        return [self.compute, self.storage]


class Best(BaseModel):
    """The one best price, or null, and why each other one is not the best, by the name of its provider."""

    operation: str
    best: Quote | None
    considered: int
    unavailable: dict[str, str]
    not_chosen: dict[str, str]


class LastError(BaseModel):
    """What went wrong last with a provider; `text` is ours, never what it said."""

    text: str
    at: str


class PriceSample(BaseModel):
    """The last price that a provider named, and for what."""

    price_usd: str
    at: str
    of: dict[str, Any] = Field(default_factory=dict)


class ProviderRow(BaseModel):
    """A provider that is asked for prices: whether it works, and why it takes no work now (null: it does).

    `circuit` is open while it is not asked because it kept failing. `success_rate` (0 to 1) and `typical_ms`
    are of its last answers to quote, `jobs_success_rate` and `jobs_typical_ms` of the executor's last jobs
    with it; null before the first.
    """

    name: str
    kind: Kind
    status: Literal["available", "unavailable", "disabled"]
    reason: str | None = None
    refusal: Refusal | None = None
    circuit: Literal["closed", "open", "half_open"] = "closed"
    success_rate: float | None = None
    typical_ms: int | None = None
    jobs_success_rate: float | None = None
    jobs_typical_ms: int | None = None
    last_error: LastError | None = None
    last_asked: str | None = None
    price_sample: PriceSample | None = None


class ProviderList(BaseModel):
    """`GET /providers` of the quote service."""

    providers: list[ProviderRow]
    count: int
