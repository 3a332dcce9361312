"""What instances are and hold, read when somebody asks. It counts nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from lmrun.engines.base import EngineUsage
from lmrun.runtime.instance import Instance

Reading = Callable[[Instance], float | None]
"""None where there is nothing to say."""


def _of_usage(read: Callable[[EngineUsage], float]) -> Reading:
    return lambda instance: None if instance.usage is None else read(instance.usage)


_GAUGES: dict[str, tuple[str, Reading]] = {
    "lmrun_model_ready": (
        "Whether the instance answers requests",
        lambda instance: float(instance.state == "ready"),
    ),
    "lmrun_model_load_seconds": (
        "How long the instance took to load, the last time",
        lambda instance: instance.load_s,
    ),
    "lmrun_requests_in_flight": (
        "Requests that use the instance or wait for it",
        lambda instance: instance.in_flight,
    ),
    "lmrun_sequences_active": (
        "Sequences that are computed now",
        lambda instance: instance.active,
    ),
    "lmrun_queue_length": (
        "Sequences that wait for a place",
        lambda instance: instance.queued,
    ),
    "lmrun_kv_tokens": ("Cells of the KV pool", _of_usage(lambda usage: usage.kv_tokens)),
    "lmrun_kv_tokens_used": (
        "Cells of the KV pool that sequences hold",
        _of_usage(lambda usage: usage.kv_tokens_used),
    ),
    "lmrun_prefix_cache_bytes": (
        "Size of the parked prefixes",
        _of_usage(lambda usage: usage.prefix_cache_bytes),
    ),
    "lmrun_prefix_cache_limit_bytes": (
        "Most that may be parked",
        _of_usage(lambda usage: usage.prefix_cache_limit),
    ),
    "lmrun_prefix_cache_entries": (
        "Parked prefixes",
        _of_usage(lambda usage: usage.prefix_cache_entries),
    ),
}

_COUNTERS: dict[str, tuple[str, Reading]] = {
    "lmrun_worker_restarts": (
        "Restarts after crashes, since the instance was loaded",
        lambda instance: instance.restarts,
    ),
    "lmrun_engine_prefilled_tokens": (
        "Prompt tokens the worker has computed, cancelled generations included",
        _of_usage(lambda usage: usage.prefilled_tokens),
    ),
    "lmrun_engine_cached_tokens": (
        "Prompt tokens the worker did not have to compute",
        _of_usage(lambda usage: usage.cached_tokens),
    ),
    "lmrun_engine_generated_tokens": (
        "Tokens the worker has generated, cancelled generations included",
        _of_usage(lambda usage: usage.generated_tokens),
    ),
}


class InstanceCollector(Collector):
    """`instances`: those of now, by identifier."""

    def __init__(self, instances: Callable[[], Mapping[str, Instance]]) -> None:
        self._instances = instances

    def describe(self) -> Iterator[Metric]:
        yield from (_gauge(name) for name in _GAUGES)
        yield from (_counter(name) for name in _COUNTERS)

    def collect(self) -> Iterator[Metric]:
        instances = self._instances()
        for name, (_, read) in _GAUGES.items():
            gauge = _gauge(name)
            for model, value in _read_all(instances, read):
                gauge.add_metric([model], value)
            yield gauge
        for name, (_, read) in _COUNTERS.items():
            counter = _counter(name)
            for model, value in _read_all(instances, read):
                counter.add_metric([model], value)
            yield counter


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, _GAUGES[name][0], labels=["model"])


def _counter(name: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, _COUNTERS[name][0], labels=["model"])


def _read_all(instances: Mapping[str, Instance], read: Reading) -> Iterator[tuple[str, float]]:
    for model, instance in instances.items():
        value = read(instance)
        if value is not None:
            yield model, value
