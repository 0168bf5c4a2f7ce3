"""JSON of the operator's page. Dollars are decimal strings, times ISO 8601, those of plots Unix seconds."""

from pydantic import BaseModel, Field

from shared.jobs import Wire
from shared.quotes import ProviderRow


class Sum(BaseModel):
    """How many, and what they add up to; `amountAtomic` is 10^-6 USD."""

    count: int
    amountAtomic: str
    amountUsd: str


class Host(BaseModel):
    """This broker."""

    version: str
    startedAt: str
    uptimeS: int
    network: str
    payTo: str | None
    paymentsEnabled: bool


class JobLine(BaseModel):
    """A job, and the payment that its fate hangs on; null where nobody pays. Text is the caller's own."""

    id: str
    operation: str
    provider: str
    status: str
    label: str | None
    error: str | None
    priceUsd: str | None
    paymentState: str | None
    createdAt: str


class RevenueLine(BaseModel):
    """What was settled for one operation at one provider."""

    operation: str | None
    provider: str | None
    today: Sum
    week: Sum
    all: Sum


class Revenue(BaseModel):
    """What was settled on this broker's network: today, in seven days with it (UTC), ever."""

    today: Sum
    week: Sum
    all: Sum
    lines: list[RevenueLine]


class OwedLine(BaseModel):
    """Money that a payer is to get back."""

    paymentId: str
    jobId: str
    payer: str
    amountAtomic: str
    amountUsd: str
    reason: str
    network: str
    operation: str | None
    provider: str | None
    createdAt: str


class Owed(BaseModel):
    """All that is owed, and the oldest of it."""

    total: Sum
    oldest: list[OwedLine]


class UnknownLine(BaseModel):
    """A payment of which nobody knows yet whether money moved. The broker keeps asking."""

    id: str
    jobId: str
    payer: str
    amountUsd: str
    reason: str | None
    attempts: int
    createdAt: str


class Payments(BaseModel):
    """Payments by state, on all networks that this ledger has seen."""

    states: dict[str, int]
    unknown: list[UnknownLine]


class LastHour(BaseModel):
    """By minute, oldest first, the current one last. p50 and p95: ms from reservation to settlement."""

    at: list[int]
    jobs: list[int]
    revenueUsd: list[str]
    p50Ms: list[int | None]
    p95Ms: list[int | None]


class Neighbour(BaseModel):
    """A service next to this broker. `reason` says why it does not answer."""

    name: str
    reachable: bool
    version: str | None = None
    reason: str | None = None


class ExecutorRow(Wire):
    """A provider of an executor: whether it works, its slots and queue, room to store, money to spend.

    `executor` is the id of the `ExecutorLine` that told it.
    """

    executor: str = ""
    name: str = Field(max_length=64)
    kind: str = Field(max_length=64)
    status: str = Field(max_length=64)
    reason: str = ""
    isolation: str | None = None
    slots: int | None = None
    slots_free: int | None = None
    waiting: int | None = None
    ready: dict[str, int] | None = Field(None, max_length=32)
    memory_mb: int | None = None
    accepting: bool = True
    free_bytes: int | None = None
    networks: list[str] | None = None
    spendable_atomic: int | None = None
    success_rate: float | None = None
    typical_ms: int | None = None


class ExecutorTold(Wire):
    """`GET /providers` of an executor. One of an older version does not say who it is."""

    instance: str | None = Field(None, max_length=64)
    machine: str = Field("", max_length=255)
    payer: str | None = Field(None, max_length=64)
    providers: list[ExecutorRow]


class ExecutorLine(BaseModel):
    """An executor that was seen lately: its sandbox, and what stands ready in it for a run, by language."""

    id: str
    machine: str
    seenAt: str
    slots: int
    slotsFree: int
    waiting: int
    ready: dict[str, int]
    accepting: bool


class Slots(BaseModel):
    """The sandbox, as it was seen in the last hour: one entry for each look at it."""

    at: list[int]
    used: list[int]
    free: list[int]
    waiting: list[int]


class Stats(BaseModel):
    """All numbers of the page, as of `at`. `warnings` are sentences about what the operator should change."""

    at: str
    host: Host
    warnings: list[str]
    jobs: list[JobLine]
    revenue: Revenue
    refunds: Owed
    payments: Payments
    lastHour: LastHour
    neighbours: list[Neighbour]
    providers: list[ProviderRow]
    executors: list[ExecutorRow]
    instances: list[ExecutorLine]
    slots: Slots


class PaidBack(BaseModel):
    """The transaction that paid a refund."""

    transaction: str = Field(pattern=r"^0x[0-9a-fA-F]{64}$", examples=["0x" + "12" * 32])


class RefundPaid(BaseModel):
    """A refund that is done. `verified`: the chain says so; else `warning` says why it was not asked."""

    paymentId: str
    transaction: str
    amountUsd: str
    verified: bool
    warning: str | None = None
