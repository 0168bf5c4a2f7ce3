"""What a provider and a kind of work have to offer, and how they are found by their place."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

from fastapi import APIRouter
from pydantic import BaseModel

import executor.providers
from executor.sandbox.capture import OnOutput
from executor.settings import ExecutorSettings
from executor.storage.storage import Storage
from executor.upstream.base import Upstream
from shared.jobs import Wire


class LanguageInfo(Wire):
    """A language that works. `dependencies`: whether a run of it may ask for packages."""

    name: str
    version: str
    dependencies: bool = False


class RuntimeInfo(Wire):
    """One row of `GET /runtimes`. `reason` says what to install where it is not available."""

    name: str
    aliases: list[str]
    provider: str
    available: bool
    version: str | None = None
    source: Literal["machine", "package", "configured"] | None = None
    dependencies: bool = False
    reason: str = ""


class ProviderStatus(Wire):
    """One row of `GET /providers`. `reason` is empty when there is nothing to say."""

    name: str
    kind: str
    status: Literal["available", "disabled", "unavailable"]
    reason: str = ""
    sellable: bool = True
    languages: list[LanguageInfo] | None = None
    isolation: str | None = None
    slots: int | None = None
    slots_free: int | None = None
    waiting: int | None = None
    ready: dict[str, int] | None = None
    """Sandboxes that wait for a run, by language."""
    memory_mb: int | None = None
    """The most that one run can get, which is all that runs may use together."""
    accepting: bool = True
    """Whether work that came now would begin or wait its turn, and not be refused."""
    retry_after_s: int | None = None
    """When to ask again; None while it is accepting."""
    free_bytes: int | None = None
    """What more can be stored; None where nobody knows, or nothing is stored."""
    networks: list[str] | None = None
    """Where it can be paid from here (CAIP-2); None where nobody is paid, or on any network."""
    spendable_atomic: int | None = None
    """The most that a job may spend on it now, 10^-6 USD; None where nobody is paid."""
    success_rate: float | None = None
    """Of the jobs that it was given lately, from 0 to 1; None before the first."""
    typical_ms: int | None = None
    """How long such a job took."""


@dataclass(frozen=True)
class Task:
    """A job to do. `request` is what the kind's `parse` made of the body.

    `max_spend_atomic` bounds what may be paid to others for this job, at all its providers together, in
    10^-6 USD; None: as much as the host allows for one call.
    """

    job_id: str
    kind: str
    provider: str
    request: BaseModel
    max_spend_atomic: int | None = None


class Provider(Protocol):
    """Does one kind of work. `open` and `close` frame the life of the service."""

    name: str
    kind: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def status(self) -> ProviderStatus: ...

    async def execute(self, task: Task) -> BaseModel:
        """The result. Raises `GalaksioError` for a failure of ours."""


@runtime_checkable
class RunsCode(Protocol):
    """A provider that runs code, in the languages that it names."""

    def runtimes(self) -> list[RuntimeInfo]: ...


@runtime_checkable
class Streams(Protocol):
    """A provider that can tell of a run's output while it is produced."""

    async def execute_streaming(self, task: Task, on_output: OnOutput) -> BaseModel:
        """As `execute`. `on_output` is told nothing when the work begins, then what comes."""


@runtime_checkable
class Drains(Protocol):
    """A provider with something to end when the service is told to stop."""

    async def drain(self) -> None:
        """Begin nothing new; returns when what was running has ended, or was ended."""


@runtime_checkable
class Undoes(Protocol):
    """A provider whose work leaves something behind that can be taken back."""

    async def undo(self, job_id: str) -> None:
        """Take back what the job did, and see that it never does it later.

        Idempotent, and no error for a job that is not known.
        """


@runtime_checkable
class Serves(Protocol):
    """A provider with routes of its own."""

    def routes(self) -> APIRouter: ...


class Kind(Protocol):
    """A package `executor/providers/<kind>/__init__.py`: the task types it serves and their payload."""

    TASK_TYPES: frozenset[str]
    DEFAULT_PROVIDER: str

    def parse(self, body: dict[str, Any]) -> BaseModel: ...


@runtime_checkable
class SharesTaskTypes(Protocol):
    """A kind that also serves another kind's task types, for tasks that name a provider of it."""

    SHARED_TASK_TYPES: frozenset[str]


@dataclass(frozen=True)
class Registry:
    """All kinds by name, all providers by kind and name."""

    kinds: Mapping[str, Kind]
    providers: Mapping[tuple[str, str], Provider]

    def kind_of(self, task_type: str, provider: Any = None) -> str | None:
        for name, kind in self.kinds.items():
            shared = isinstance(kind, SharesTaskTypes) and task_type in kind.SHARED_TASK_TYPES
            if shared and isinstance(provider, str) and (name, provider) in self.providers:
                return name
        return next((name for name, kind in self.kinds.items() if task_type in kind.TASK_TYPES), None)

    def task_types(self) -> list[str]:
        return sorted(name for kind in self.kinds.values() for name in kind.TASK_TYPES)

    def names(self, kind: str) -> list[str]:
        return sorted(name for of, name in self.providers if of == kind)


@dataclass(frozen=True)
class Context:
    """What a provider may use."""

    settings: ExecutorSettings
    upstream: Upstream
    storage: Storage


def find_providers(context: Context) -> Registry:
    """Import every kind and provider there is. A provider module offers `provider(context)`."""
    kinds: dict[str, Any] = {}
    found: dict[tuple[str, str], Provider] = {}
    for kind in _children(executor.providers):
        if not hasattr(kind, "__path__"):
            continue
        kinds[_last_name(kind)] = kind
        for module in _children(kind):
            provider: Provider = module.provider(context)
            found[provider.kind, provider.name] = provider
    return Registry(kinds, found)


def _children(package: ModuleType) -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if info.name != "base"]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in sorted(names)]


def _last_name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]
