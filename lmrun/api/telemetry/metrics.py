"""The counters and histograms, in Prometheus' terms: what was asked for, and how it went.

Labels are models that were used, routes of the table, and statuses: never a client's own text. It
knows no route and sees no content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from lmrun import __version__
from lmrun.api.http.record import Record
from lmrun.api.telemetry.instances import InstanceCollector
from lmrun.chat.events import Usage
from lmrun.runtime.instance import Instance

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Outcome = Literal["finished", "failed", "cancelled"]

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "WEBSOCKET"})
_FIRST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
_REQUEST_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)

_TOKENS = {
    "prompt": "Tokens of prompts, of generations that ended by themselves and of embeddings",
    "cached": "Tokens of those prompts that came out of the prefix cache",
    "generated": "Tokens generated, of generations that ended by themselves",
    "drafted": "Tokens guessed by speculation",
    "accepted": "Guessed tokens that were right",
}


class Metrics:
    """`instances`: those of now, by identifier."""

    def __init__(self, instances: Callable[[], Mapping[str, Instance]]) -> None:
        # A second series for each one, with the time of its birth, which nothing here resets.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Info("lmrun_build", "This lmrun", registry=self._registry)
        build.info({"version": __version__})
        self._registry.register(InstanceCollector(instances))
        self._requests = self._counter(
            "lmrun_http_requests",
            "Requests, by the route and the model that answered; none is an empty label",
            ("method", "route", "status", "model"),
        )
        self._generations = self._counter(
            "lmrun_generations", "Generations, by how they ended", ("model", "outcome")
        )
        self._tokens = {
            name: self._counter(f"lmrun_{name}_tokens", text) for name, text in _TOKENS.items()
        }
        self._hits = self._counter(
            "lmrun_prefix_cache_hits",
            "Generations whose prompt came, in part, out of the prefix cache",
        )
        self._request_s = self._histogram(
            "lmrun_http_request_seconds",
            "From a request's head to the end of its answer",
            _REQUEST_S,
            label="route",
        )
        self.first_s = self._histogram(
            "lmrun_time_to_first_token_seconds", "From asking the model until its text", _FIRST_S
        )
        self.gap_s = self._histogram(
            "lmrun_inter_token_seconds",
            "From one piece of text to the next; a piece is a token, or all tokens of 50 ms",
            _GAP_S,
        )
        self._per_token_s = self._histogram(
            "lmrun_time_per_output_token_seconds",
            "After the first text, per token; one observation for each generation",
            _GAP_S,
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ("model",)) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *, label: str = "model"
    ) -> Histogram:
        return Histogram(name, text, (label,), buckets=buckets, registry=self._registry)

    def render(self) -> bytes:
        """All of it in the text format, version 0.0.4."""
        return generate_latest(self._registry)

    def count_request(self, record: Record) -> None:
        route = record.route or ""
        method = record.method if record.method in _METHODS else "other"
        self._requests.labels(method, route, str(record.status), record.model or "").inc()
        self._request_s.labels(route).observe(record.seconds)

    def count_generation(self, model: str, outcome: Outcome) -> None:
        self._generations.labels(model, outcome).inc()

    def count_usage(self, model: str, usage: Usage, rest_s: float) -> None:
        """Of a generation that ended. `rest_s`: from its first text to its end."""
        counts = {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "generated": usage.completion_tokens,
            "drafted": usage.drafted_tokens,
            "accepted": usage.accepted_tokens,
        }
        for name, count in counts.items():
            self._tokens[name].labels(model).inc(count)
        if usage.cached_tokens:
            self._hits.labels(model).inc()
        if usage.completion_tokens > 1:
            self._per_token_s.labels(model).observe(rest_s / (usage.completion_tokens - 1))

    def count_input(self, model: str, prompt_tokens: int) -> None:
        self._tokens["prompt"].labels(model).inc(prompt_tokens)
