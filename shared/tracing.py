"""Traces for an OpenTelemetry collector: on where OTEL_EXPORTER_OTLP_ENDPOINT is set, else of no cost.

One trace goes through broker, quote and executor by its `traceparent`. FastAPI makes a span for each request;
the steps of a sale (`step`) are ours. No span holds a query, a header or a body.
"""

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import propagate, trace
from starlette.types import Scope

from shared.errors import StartupError
from shared.http import HEALTH_PATHS, METRICS_PATH, NO_TELEMETRY

_QUERY = "url.query"
_UNTRACED = frozenset({*HEALTH_PATHS, METRICS_PATH})
EXPORT_S = 3.0
"""For one batch: a collector that is away keeps nobody waiting at the end."""
_NOTHING = nullcontext()
_tracer: trace.Tracer | None = None


def telemetry_of(service: str, endpoint: str | None) -> TelemetryConfig:
    """What FastAPI is told of tracing; for the whole process, the first time that an `endpoint` is given.

    Raises `StartupError` when the packages for it are not installed.
    """
    if endpoint is None:
        return NO_TELEMETRY
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter") is None:
        raise StartupError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends traces is not installed: install the extra "
            "(pip install 'galaksio[otel]'), or unset it."
        )
    if _tracer is None:
        _open(service, endpoint)
    return {**NO_TELEMETRY, "tracing": True, "operation_spans": False, "exclude": _is_untraced}


def step(name: str) -> AbstractContextManager[Any]:
    """A span around one step of a sale: `with step("settle"): …`."""
    return _NOTHING if _tracer is None else _tracer.start_as_current_span(name)


def trace_headers() -> dict[str, str]:
    """What tells the service that is asked which trace it is part of."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        propagate.inject(headers)
    return headers


def _open(service: str, endpoint: str) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class WithoutQuery(SpanProcessor):
        """A query is the customer's own: it may hold a token."""

        def on_start(self, span: Span, parent_context: Any = None) -> None:
            if span.attributes and _QUERY in span.attributes:
                span.set_attribute(_QUERY, "")

    global _tracer  # noqa: PLW0603 - OpenTelemetry has one provider for a process, too
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    provider.add_span_processor(WithoutQuery())
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("galaksio")


def _is_untraced(scope: Any) -> bool:
    wanted: Scope = scope
    return wanted.get("path") in _UNTRACED
