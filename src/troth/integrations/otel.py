"""OpenTelemetry: one trace from whoever started a run through every process that has it, and metrics.

    from troth.integrations.otel import instrument

    instrument(troth)      # once, where the program is defined: every process that imports it has it

The span `start signup` is made where the run is started, below whatever is current there, and its context is stored with
the run. Whoever takes the run up makes a span for that stay; below it are the bodies of steps, effects and probes, with
their context current, so that what a client library traces lies below them.

A stay is a point in time, exported when it begins. A span that is open for as long as its process has the run would be
lost with a process that is killed, and everything below it would hang in the air. So only what may be lost is open: the
bodies that die with the process. How long a stay was is told at its end, by another point.

What is not sampled costs little: a stay whose span is not recorded has no spans below it. Its context is current all the
same, so that the decision reaches whatever its bodies call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import Counter, Histogram, MeterProvider
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from troth.app import Troth
from troth.base import events
from troth.base.events import Event
from troth.integrations.measures import Measure, by_event, labels_of, value_of
from troth.journal.model import family_of

_HEADER = TraceContextTextMapPropagator()
_BAD = frozenset({"failed", "unknown", "not_done", "abandoned"})
_OUTGOING = frozenset({"effect", "undo", "probe"})


def instrument(
    troth: Troth,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Trace and measure all that *troth* does in this process; without providers, by those that are set globally.

    Call it once for a `Troth`. Without an SDK that is configured, it costs what making no spans costs, and nothing is
    stored.
    """
    tracing = Tracing(trace.get_tracer("troth", tracer_provider=tracer_provider))
    troth.telemetry.tracer = tracing
    troth.listen(tracing.listen, *tracing.handlers)
    measuring = Measuring(meter_provider)
    troth.listen(measuring.listen, *measuring.kinds)


class _Body(NamedTuple):
    span: Span
    token: Any  # of the context that was current before


class _Stay(NamedTuple):
    context: context.Context
    worker: int
    last: dict[str, SpanContext]  # of each path that is tried again: its last attempt
    recorded: bool


class Tracing:
    """Makes the spans of one program."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._starting: dict[UUID, Span] = {}
        self._stays: dict[UUID, _Stay] = {}
        self._bodies: dict[tuple[UUID, str], _Body] = {}
        self.handlers: Mapping[type[Event], Any] = {
            events.RunClaimed: self._claimed,
            events.RunReleased: self._released,
            events.RunAttention: self._attention,
            events.RunUndoing: self._undoing,
            events.RunEnded: self._ended,
            events.StepBegan: self._began,
            events.StepEnded: self._left,
            events.StepRetry: self._retry,
            events.EffectSent: self._sent,
            events.EffectOutcome: self._outcome,
            events.EffectInDoubt: self._in_doubt,
            events.MessageHeard: self._heard,
            events.RequestAnswered: self._answered,
            events.WorkerFenced: self._fenced,
        }

    def listen(self, event: Event) -> None:
        """Something has happened."""
        self.handlers[type(event)](event)

    # What is stored ---------------------------------------------------------------------------------------------------

    def starting(self, run_id: UUID, workflow: str, parent: UUID | None) -> str | None:
        """The span of a start, below the stay of the run that starts it or below what is current."""
        stay = self._stays.get(parent) if parent is not None else None
        span = self._tracer.start_span(
            f"start {family_of(workflow)}",
            context=stay.context if stay else None,
            kind=SpanKind.PRODUCER,
            attributes={"troth.run_id": str(run_id), "troth.workflow": workflow},
        )
        self._starting[run_id] = span
        return _traceparent(span)

    def begun(self, asked: UUID, run_id: UUID | None) -> None:
        """The start was carried out, or not."""
        span = self._starting.pop(asked, None)
        if span is None:
            return
        if run_id is None:
            span.set_status(Status(StatusCode.ERROR, "not started"))
        elif run_id != asked:
            span.set_attributes({"troth.run_id": str(run_id), "troth.fresh": False})
        span.end()

    def sending(self, run_id: UUID | None, key: str | None, topic: str) -> str | None:
        """The span of a message that is sent, below what is current."""
        to = {"troth.run_id": str(run_id)} if run_id else {"troth.key": key or ""}
        span = self._tracer.start_span(
            f"send {topic}", kind=SpanKind.PRODUCER, attributes={**to, "troth.topic": topic}
        )
        span.end()
        return _traceparent(span)

    # Stays ------------------------------------------------------------------------------------------------------------

    def _claimed(self, event: events.RunClaimed) -> None:
        parent = _HEADER.extract({"traceparent": event.trace}) if event.trace else context.Context()
        span = self._tracer.start_span(
            f"run {family_of(event.workflow)}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                **_run(event),
                "troth.claim": event.claim,
                "troth.worker": event.worker,
                "troth.because": event.because,
                **({"troth.key": event.key} if event.key else {}),
                **({"troth.by": event.by} if event.by else {}),
            },
        )
        span.end()
        stay = trace.set_span_in_context(span, context.Context())
        sampled = span.get_span_context().trace_flags.sampled
        self._stays[event.run_id] = _Stay(stay, event.worker, {}, sampled)

    def _released(self, event: events.RunReleased) -> None:
        self._leave(event, f"leave {family_of(event.workflow)}", event.state, event.held_s)

    def _attention(self, event: events.RunAttention) -> None:
        more = {"troth.reason": event.reason, "troth.path": event.path or ""}
        name = f"park {family_of(event.workflow)}"
        self._leave(event, name, "attention", event.held_s, more, event.message or event.reason)

    def _ended(self, event: events.RunEnded) -> None:
        more = {"troth.duration_s": event.seconds}
        failed = event.error or event.state if event.state != "succeeded" else None
        name = f"end {family_of(event.workflow)}"
        self._leave(event, name, event.state, event.held_s, more, failed)

    def _undoing(self, event: events.RunUndoing) -> None:
        self._point(event, "undo", {"troth.because": event.because or ""})

    def _leave(
        self,
        event: events.RunReleased | events.RunAttention | events.RunEnded,
        name: str,
        state: str,
        held_s: float,
        more: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        said = {"troth.state": state, "troth.held_s": held_s, **(more or {})}
        self._point(event, name, said, error)
        self._stays.pop(event.run_id, None)

    def _point(
        self,
        event: Any,
        name: str,
        attributes: Mapping[str, Any],
        error: str | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: list[Link] | None = None,
    ) -> None:
        """A moment in a stay."""
        stay = self._stays.get(event.run_id)
        if stay is not None and not stay.recorded:
            return
        span = self._tracer.start_span(
            name,
            context=stay.context if stay else None,
            kind=kind,
            attributes={**_run(event), **attributes},
            links=links,
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()

    def _fenced(self, event: events.WorkerFenced) -> None:
        gone = [run_id for run_id, stay in self._stays.items() if stay.worker == event.worker]
        for run_id in gone:
            del self._stays[run_id]

    # Bodies -----------------------------------------------------------------------------------------------------------

    def _began(self, event: events.StepBegan) -> None:
        stay = self._stays.get(event.run_id)
        if stay is not None and not stay.recorded:
            quiet = trace.get_current_span(stay.context)
            self._bodies[event.run_id, event.path] = _Body(quiet, context.attach(stay.context))
            return
        before = stay.last.pop(event.path, None) if stay else None
        span = self._tracer.start_span(
            f"{event.kind} {event.step}",
            context=stay.context if stay else None,
            kind=SpanKind.CLIENT if event.kind in _OUTGOING else SpanKind.INTERNAL,
            attributes={
                **_run(event),
                "troth.path": event.path,
                "troth.kind": event.kind,
                "troth.attempt": event.attempt,
                "troth.claim": event.claim,
                "troth.worker": event.worker,
            },
            links=[Link(before, {"troth.link": "the attempt before"})] if before else None,
        )
        token = context.attach(trace.set_span_in_context(span))
        self._bodies[event.run_id, event.path] = _Body(span, token)

    def _sent(self, event: events.EffectSent) -> None:
        body = self._bodies.get((event.run_id, event.path))
        if body is not None:
            body.span.set_attribute("troth.idempotency_key", event.key)
            if event.provider:
                body.span.set_attribute("peer.service", event.provider)

    def _left(self, event: events.StepEnded) -> None:
        body = self._bodies.pop((event.run_id, event.path), None)
        if body is None:
            return
        body.span.set_attribute("troth.outcome", event.outcome)
        if event.error is not None:
            body.span.set_attribute("exception.message", event.error)
        if event.outcome in _BAD:
            body.span.set_status(Status(StatusCode.ERROR, event.error or event.outcome))
        body.span.end()
        stay = self._stays.get(event.run_id)
        if stay is not None and event.outcome in _BAD:
            stay.last[event.path] = body.span.get_span_context()
        if event.outcome != "abandoned":  # then this is not the body's context
            context.detach(body.token)

    def _retry(self, event: events.StepRetry) -> None:
        more = {
            "troth.path": event.path,
            "troth.attempt": event.attempt,
            "troth.wait_s": event.wait_s,
        }
        self._point(event, f"retry {event.step}", more)

    def _outcome(self, event: events.EffectOutcome) -> None:
        """What is not said by the span of its body: by whom else it was decided."""
        if event.decided_by == "answer":
            return
        more = {
            "troth.path": event.path,
            "troth.attempt": event.attempt,
            "troth.outcome": event.outcome,
            "troth.decided_by": event.decided_by,
        }
        error = event.message or event.outcome if event.outcome == "unknown" else None
        self._point(event, f"outcome {event.step}", more, error)

    def _in_doubt(self, event: events.EffectInDoubt) -> None:
        more = {"troth.path": event.path, "troth.idempotency_key": event.key}
        self._point(event, f"in doubt {event.step}", more, event.stake or "in doubt")

    def _heard(self, event: events.MessageHeard) -> None:
        sender = _span_context(event.trace)
        links = [Link(sender, {"troth.link": "the sender"})] if sender else None
        more = {"troth.path": event.path, "troth.topic": event.topic}
        self._point(event, f"hear {event.topic}", more, kind=SpanKind.CONSUMER, links=links)

    @staticmethod
    def _answered(event: events.RequestAnswered) -> None:
        """The request's own span, whoever made it, knows what the answer was."""
        span = trace.get_current_span()
        span.set_attribute("troth.request.result", event.result)
        if event.run_id is not None:
            span.set_attribute("troth.run_id", str(event.run_id))


class Measuring:
    """The metrics of one program."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = metrics.get_meter("troth", meter_provider=provider)
        self._measures: dict[type[Event], list[tuple[Measure, Counter | Histogram]]] = {}
        for kind, measures in by_event().items():
            self._measures[kind] = [(each, _instrument(meter, each)) for each in measures]

    @property
    def kinds(self) -> tuple[type[Event], ...]:
        """What is measured."""
        return tuple(self._measures)

    def listen(self, event: Event) -> None:
        """Something has happened."""
        for measure, instrument_ in self._measures[type(event)]:
            value = value_of(measure, event)
            if value is None:
                continue
            if isinstance(instrument_, Counter):
                instrument_.add(value, labels_of(measure, event))
            else:
                instrument_.record(value, labels_of(measure, event))


def _instrument(meter: metrics.Meter, measure: Measure) -> Counter | Histogram:
    if measure.kind == "counter":
        return meter.create_counter(measure.name, measure.unit, measure.meaning)
    return meter.create_histogram(
        measure.name,
        measure.unit,
        measure.meaning,
        explicit_bucket_boundaries_advisory=list(measure.buckets),
    )


def _run(event: Any) -> dict[str, Any]:
    return {"troth.run_id": str(event.run_id), "troth.workflow": event.workflow}


def _traceparent(span: Span) -> str | None:
    if not span.get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _HEADER.inject(carrier, trace.set_span_in_context(span, context.Context()))
    return carrier.get("traceparent")


def _span_context(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    found = trace.get_current_span(_HEADER.extract({"traceparent": traceparent}))
    return found.get_span_context() if found.get_span_context().is_valid else None
