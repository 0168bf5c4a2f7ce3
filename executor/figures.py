"""What the executor tells of its work at `/metrics`."""

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from pydantic import BaseModel

from executor.providers.base import ProviderStatus, Registry, Task
from executor.upstream.base import Upstream
from shared.jobs import RunRequest, RunResult
from shared.metrics import Metrics, counted, gauge, usd

DONE, FAILED, REFUSED = "done", "failed", "refused"
"""How a job ended: done, failed for reasons of ours or the provider's, or not taken for the customer's."""


class Figures:
    """Counts the jobs of one executor."""

    def __init__(self, metrics: Metrics) -> None:
        self._jobs = metrics.counter("galaksio_jobs", "Jobs that ended.", "kind", "provider", "outcome")
        self._runs = metrics.counter("galaksio_runs", "Runs of code that ended.", "language", "outcome")
        self._run_s = metrics.histogram("galaksio_run_seconds", "Time from a job to its run's result.")

    def ended(self, task: Task, outcome: str, took_s: float, result: BaseModel | None = None) -> None:
        """A job ended as `DONE` with a result, as `FAILED` or as `REFUSED`."""
        self._jobs.labels(task.kind, task.provider, outcome).inc()
        if isinstance(task.request, RunRequest):
            how = _how(result) if isinstance(result, RunResult) else outcome
            self._runs.labels(task.request.language, how).inc()
            if result is not None:
                self._run_s.observe(took_s)


def _how(result: RunResult) -> str:
    """How the customer's code ended."""
    if result.timed_out:
        return "timed_out"
    if result.oom_killed:
        return "out_of_memory"
    return "ok" if result.exit_code == 0 else "error"


def publish(metrics: Metrics, registry: Registry, upstream: Upstream) -> None:
    """Have `metrics` tell what there is room for, and what was paid to others since the start."""

    def told() -> Iterable[Metric]:
        statuses = [provider.status() for provider in registry.providers.values()]
        yield _sum("galaksio_sandbox_slots", "Runs that there is room for.", [s.slots for s in statuses])
        free = [s.slots_free for s in statuses]
        yield _sum("galaksio_sandbox_slots_free", "Of these, how many are free.", free)
        ready = [((name,), float(count)) for s in statuses for name, count in (s.ready or {}).items()]
        yield gauge("galaksio_sandbox_pool_ready", "Sandboxes that wait for a run.", ("language",), ready)
        yield gauge("galaksio_store_free_bytes", "What more can be stored.", (), _free(statuses))
        # From 0 on: what grows is seen from the second value of a series, and the first payment is one.
        payable = {s.name: 0 for s in statuses if s.spendable_atomic is not None}
        spent = [((name,), usd(atomic)) for name, atomic in sorted({**payable, **upstream.spent()}.items())]
        yield counted("galaksio_upstream_spent_usd", "Money paid to other providers.", ("provider",), spent)

    metrics.read(told)


def _sum(name: str, text: str, figures: Iterable[int | None]) -> Metric:
    return gauge(name, text, (), [((), float(sum(figure or 0 for figure in figures)))])


def _free(statuses: Iterable[ProviderStatus]) -> list[tuple[tuple[str, ...], float]]:
    """Of the store that has least; nothing where nobody knows."""
    known = [status.free_bytes for status in statuses if status.free_bytes is not None]
    return [((), float(min(known)))] if known else []
