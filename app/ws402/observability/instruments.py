"""Metrics that cost next to nothing where they count: plain numbers, read when somebody scrapes.

A counter or histogram of prometheus-client takes a lock and some 2 µs a call, which is much beside an operation of a
batch. Here a gauge or counter is a function that is asked at the scrape, a histogram one `bisect` and two additions.
All of it runs on the event loop, so nothing is locked. prometheus-client does the rest: families, formats, exemplars.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
Source = Callable[[], Iterable[tuple[Labels, float]]]
"""Answers label values and their number; called on the event loop at each scrape, so it must be quick."""

Kind = Literal["counter", "gauge", "histogram"]


class Instrument(Collector):
    """One metric: its name (a counter's without `_total`), what it tells, and the names of its labels."""

    kind: Kind

    def __init__(self, registries: Sequence[CollectorRegistry], name: str, about: str, labels: Sequence[str]) -> None:
        self.name = name
        self.about = about
        self.labels = tuple(labels)
        self.registries = tuple(registries)
        for registry in registries:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The family without samples, for the registry's check on names."""
        raise NotImplementedError


class _Read(Instrument):
    """A number that is read at the scrape from who is bound; what several sources say of the same labels adds up."""

    def __init__(self, registries: Sequence[CollectorRegistry], name: str, about: str, labels: Sequence[str]) -> None:
        self._sources: list[Source] = []
        self._counts: dict[Labels, float] = {}
        super().__init__(registries, name, about, labels)

    def bind(self, source: Source) -> Callable[[], None]:
        """Read from here too; answers what ends that."""
        self._sources.append(source)

        def unbind() -> None:
            if source in self._sources:
                self._sources.remove(source)

        return unbind

    def value(self, *labels: str) -> float:
        """What a scrape would show for these labels now; 0 when nothing."""
        return self._values().get(labels, 0.0)

    def _values(self) -> dict[Labels, float]:
        values = dict(self._counts)
        for source in self._sources:
            for labels, value in source():
                values[labels] = values.get(labels, 0.0) + value
        return values


class Gauge(_Read):
    """A number that goes up and down."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Keep a number until the next one."""
        self._counts[labels] = value

    def clear(self, *labels: str) -> None:
        """Show nothing for these labels: what was known is not known any more."""
        self._counts.pop(labels, None)

    def describe(self) -> Iterable[Metric]:
        """See `Instrument.describe`."""
        return [GaugeMetricFamily(self.name, self.about, labels=self.labels)]

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        family = GaugeMetricFamily(self.name, self.about, labels=self.labels)
        for labels, value in self._values().items():
            family.add_metric(labels, value)
        yield family


class Counter(_Read):
    """A number that only grows, from 0 at the start of the process."""

    kind = "counter"

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add."""
        self._counts[labels] = self._counts.get(labels, 0.0) + by

    def ready(self, *labels: str) -> None:
        """Show 0 for these labels before anything happens, so that the first event is seen as a rise."""
        self._counts.setdefault(labels, 0.0)

    def describe(self) -> Iterable[Metric]:
        """See `Instrument.describe`."""
        return [CounterMetricFamily(self.name, self.about, labels=self.labels)]

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        family = CounterMetricFamily(self.name, self.about, labels=self.labels)
        for labels, value in self._values().items():
            family.add_metric(labels, value)
        yield family


class Series:
    """One label set of a histogram."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count one; `trace_id` names a trace that shows such a case."""
        position = bisect_left(self.bounds, value)
        self.counts[position] += 1
        self.total += value
        if trace_id is not None:
            self.exemplars[position] = Exemplar({"trace_id": trace_id}, value, time.time())


class Histogram(Instrument):
    """How a number is spread. Buckets are fixed: prometheus-client makes no native histograms yet."""

    kind = "histogram"

    def __init__(
        self,
        registries: Sequence[CollectorRegistry],
        name: str,
        about: str,
        labels: Sequence[str],
        bounds: Sequence[float],
    ) -> None:
        self.bounds = tuple(bounds)
        self._series: dict[Labels, Series] = {}
        super().__init__(registries, name, about, labels)

    def of(self, *labels: str) -> Series:
        """The series of these labels, to keep and observe; it shows zeros from now on."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series(self.bounds)
        return series

    def describe(self) -> Iterable[Metric]:
        """See `Instrument.describe`."""
        return [HistogramMetricFamily(self.name, self.about, labels=self.labels)]

    def collect(self) -> Iterator[Metric]:
        """For a scrape."""
        family = HistogramMetricFamily(self.name, self.about, labels=self.labels)
        for labels, series in self._series.items():
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            running = 0
            for position, bound in enumerate((*self.bounds, float("inf"))):
                running += series.counts[position]
                le = "+Inf" if bound == float("inf") else repr(float(bound))
                exemplar = series.exemplars.get(position)
                buckets.append((le, running) if exemplar is None else (le, running, exemplar))
            family.add_metric(labels, buckets, series.total)
        yield family


SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Bounds for what should take milliseconds; the objectives' 2 s is one of them."""

MINUTES: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""Bounds for what should take seconds to minutes; the objectives' 5 minutes is one of them."""

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Bounds for operations in a batch."""


def counter(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Counter:
    """A counter in that registry."""
    return Counter([registry], name, about, labels)


def gauge(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Gauge:
    """A gauge in that registry."""
    return Gauge([registry], name, about, labels)


def histogram(
    registry: CollectorRegistry, name: str, about: str, *labels: str, bounds: Sequence[float] = SECONDS
) -> Histogram:
    """A histogram in that registry."""
    return Histogram([registry], name, about, labels, bounds)
