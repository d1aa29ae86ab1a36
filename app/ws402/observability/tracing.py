"""Traces by OpenTelemetry, set by its standard OTEL_* variables; without an OTLP endpoint there are none, at no cost.

What is not sampled costs next to nothing: a root draws its trace id first and asks the SDK only when the sampler would
keep it, and nothing below an unsampled root is looked at. A trace goes on over calls and restarts as a W3C traceparent
(https://www.w3.org/TR/trace-context/): a header on the gateway link, an optional field of batched operations and of
WebSocket messages, a row of the ledger. Names follow OpenTelemetry's semantic conventions; our own begin with `ws402.`.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
from asyncio import Future
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ws402 import __version__
from ws402.errors import ConfigurationError
from ws402.observability import metrics

Attributes = Mapping[str, str | int | float | bool]

SERVER: Final = SpanKind.SERVER
CLIENT: Final = SpanKind.CLIENT
INTERNAL: Final = SpanKind.INTERNAL

SHUT_DOWN_SECONDS: Final = 3.0
"""How long a program that ends waits for a collector that does not answer. The SDK alone waits for 30, longer than a
pod has left when its sessions have been handed over."""

_LOW_64_BITS: Final = (1 << 64) - 1
_EMPTY: Final = Context()


class _Ids(RandomIdGenerator):
    """Gives a root the id that was drawn for it."""

    drawn: int | None = None

    def generate_trace_id(self) -> int:
        """A new trace's id."""
        drawn, self.drawn = self.drawn, None
        return super().generate_trace_id() if drawn is None else drawn


class _Counted(SpanExporter):
    """Counts what another exporter takes."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            metrics.SPANS_EXPORTED.inc(by=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _State:
    """What this process does with traces; `tracer` is None while they are off."""

    tracer: api.Tracer | None = None
    provider: TracerProvider | None = None
    bound: int | None = None
    """Roots are kept when the low 64 bits of their id are below; None: ask the sampler."""
    follows: bool = True
    """Whether the sampler follows the parent's decision, as it does by default."""
    ids: _Ids = _Ids()


_state = _State()
_active: ContextVar[tuple[Span, ...]] = ContextVar("ws402_spans", default=())


class Span:
    """A span that is recorded. There is no object for one that is not: `None` stands for it."""

    __slots__ = ("_span",)

    def __init__(self, span: api.Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return format(self._span.get_span_context().span_id, "016x")

    @property
    def traceparent(self) -> str:
        """The W3C header's value that makes another process go on here."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def child(
        self,
        name: str,
        kind: SpanKind = INTERNAL,
        attributes: Attributes | None = None,
        *,
        started_ns: int | None = None,
    ) -> Span:
        """A span below this one; `started_ns` since the epoch, now by default."""
        assert _state.tracer is not None  # noqa: S101 - or there were no parent
        context = api.set_span_in_context(self._span, _EMPTY)
        made = _state.tracer.start_span(name, context, kind, attributes, start_time=started_ns)
        return Span(made)

    def set(self, attributes: Attributes) -> None:
        """Add attributes; never a secret, a proof or a token."""
        self._span.set_attributes(dict(attributes))

    def end(self, error: str | None = None, *, ended_ns: int | None = None) -> None:
        """Over; `error` is a code that says why it failed."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(ended_ns)


def enabled() -> bool:
    """Whether this process records traces."""
    return _state.tracer is not None


def begin(
    name: str,
    kind: SpanKind = INTERNAL,
    parent: str | None = None,
    attributes: Attributes | None = None,
    *,
    started_ns: int | None = None,
) -> Span | None:
    """A span below a traceparent, or a trace's first; None when it is not sampled or traces are off."""
    if _state.tracer is None:
        return None
    context = _EMPTY
    if parent is not None and (remote := _parse(parent)) is not None:
        if _state.follows and not remote.trace_flags.sampled:
            return None
        context = api.set_span_in_context(api.NonRecordingSpan(remote), _EMPTY)
    elif _state.bound is not None:
        drawn = random.getrandbits(128)
        if (drawn & _LOW_64_BITS) >= _state.bound:
            return None
        _state.ids.drawn = drawn
    return _recorded(_state.tracer.start_span(name, context, kind, attributes, start_time=started_ns))


def begin_linked(name: str, parents: Iterable[str], attributes: Attributes | None = None) -> Span | None:
    """A span of several traces, by traceparents: below the first sampled one, with links to the others."""
    contexts = [context for context in map(_parse, parents) if context is not None and context.trace_flags.sampled]
    if _state.tracer is None or not contexts:
        return None
    below = api.set_span_in_context(api.NonRecordingSpan(contexts[0]), _EMPTY)
    links = [Link(each) for each in contexts[1:]]
    return _recorded(_state.tracer.start_span(name, below, INTERNAL, attributes, links))


def current() -> Span | None:
    """The span that this task works for."""
    spans = _active.get()
    return spans[0] if spans else None


def active() -> tuple[Span, ...]:
    """All spans that this task works for: a batch works for several."""
    return _active.get()


@contextmanager
def use(*spans: Span | None) -> Iterator[None]:
    """Work for these spans, in this task and in those that it makes."""
    kept = tuple(span for span in spans if span is not None)
    token = _active.set(kept)
    try:
        yield
    finally:
        _active.reset(token)


def spread(
    name: str, kind: SpanKind, attributes: Attributes | None, started_ns: int, ended_ns: int, error: str | None = None
) -> None:
    """A finished piece of work below every span that this task works for."""
    for span in _active.get():
        span.child(name, kind, attributes, started_ns=started_ns).end(error, ended_ns=ended_ns)


def error_of(done: Future[Any]) -> str | None:
    """Why a piece of work failed, by its error's code or kind, for its span's end."""
    if done.cancelled():
        return "cancelled"
    error = done.exception()
    return None if error is None else str(getattr(error, "code", type(error).__name__))


def outgoing() -> str | None:
    """The traceparent of the caller's own OpenTelemetry span, if that is sampled: for the paying client."""
    context = api.get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def configure(component: str, *, exporter: SpanExporter | None = None, sampler: Sampler | None = None) -> None:
    """Turn traces on if the OTEL_* variables name an OTLP endpoint. Raises ConfigurationError.

    `exporter` and `sampler` are for whoever embeds us, in place of the variables.
    """
    if exporter is None:
        if not _wanted():
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - heavy

        exporter = OTLPSpanExporter()
    resource = Resource.create({"service.version": __version__, "service.namespace": "ws402"})
    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "") and "OTEL_SERVICE_NAME" not in os.environ:
        resource = resource.merge(Resource({"service.name": f"ws402-{component}"}))
    provider = TracerProvider(sampler=sampler, resource=resource, id_generator=_state.ids, shutdown_on_exit=False)
    atexit.register(shut_down)  # the SDK's own would wait without our bound
    provider.add_span_processor(BatchSpanProcessor(_Counted(exporter)))
    _state.provider = provider
    _state.tracer = provider.get_tracer("ws402", __version__)
    _state.bound, _state.follows = _rule(provider.sampler)


def shut_down(seconds: float = SHUT_DOWN_SECONDS) -> None:
    """Export what is left, and turn traces off; what the collector has not taken within `seconds` is lost."""
    provider, _state.provider, _state.tracer = _state.provider, None, None
    if provider is not None:
        # Ends with the process, like the thread that it waits for.
        ending = threading.Thread(target=provider.shutdown, name="traces-shut-down", daemon=True)
        ending.start()
        ending.join(seconds)


def _wanted() -> bool:
    get = os.environ.get
    if get("OTEL_SDK_DISABLED", "").lower() == "true" or get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return False
    if not (get("OTEL_EXPORTER_OTLP_ENDPOINT") or get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return False
    protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf" or get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        raise ConfigurationError(
            "Traces leave by OTLP over HTTP only.",
            remedy="Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (usually port 4318), and OTEL_TRACES_EXPORTER=otlp.",
        )
    return True


def _rule(sampler: Sampler) -> tuple[int | None, bool]:
    """How the sampler treats roots, and whether it follows parents."""
    follows = isinstance(sampler, ParentBased)
    root = getattr(sampler, "_root", sampler)
    if isinstance(root, TraceIdRatioBased):
        return root.bound, follows
    return (0 if root is ALWAYS_OFF else None), follows


def _recorded(span: api.Span) -> Span | None:
    return Span(span) if span.is_recording() else None


def _parse(traceparent: str) -> SpanContext | None:
    """None for what is no traceparent: a peer's mistake never fails a call."""
    parts: Sequence[str] = traceparent.split("-")
    try:
        version, trace_id, span_id, flags = parts[:4]
        if (len(version), len(trace_id), len(span_id), len(flags)) != (2, 32, 16, 2) or version == "ff":
            return None
        context = SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
        )
    except ValueError:
        return None
    return context if context.is_valid else None
