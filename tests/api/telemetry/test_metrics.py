"""`/metrics`: what a scraper reads after something has happened."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lmrun.api.http.record import Record
from lmrun.api.telemetry.metrics import Metrics
from lmrun.chat.events import Usage
from lmrun.engines.base import EngineUsage
from tests.api.telemetry.conftest import Watched
from tests.support.http import wait_until
from tests.support.stand_in_pool import make_instance

_GROWING = ("_total", "_count", "_sum", "_bucket")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scraped:
    """What a scrape says, beside the one `before`: counters have run for a while already."""

    def __init__(self, watched: Watched, before: Scraped | None = None) -> None:
        self._before = before
        reply = watched.port.ask("GET", "/metrics")
        assert reply.status == 200
        self.content_type = reply.header("content-type")
        self.text = reply.body.decode()
        self.samples = parse(self.text)

    def get(self, name: str, **labels: str) -> float | None:
        """The value, of a counter what it has grown; None where there is no such series."""
        value = self.samples.get((name, frozenset(labels.items())))
        if value is None or self._before is None or not name.endswith(_GROWING):
            return value
        return value - (self._before.get(name, **labels) or 0)


@pytest.fixture
def before(watched: Watched) -> Scraped:
    return Scraped(watched)


def requests(scraped: Scraped, status: int, model: str = "a") -> float | None:
    labels = {"method": "POST", "route": "/v1/chat/completions", "model": model}
    return scraped.get("lmrun_http_requests_total", status=str(status), **labels)


def test_it_is_the_text_format_and_names_every_kind(watched: Watched) -> None:
    watched.chat("hi")
    scraped = Scraped(watched)
    assert scraped.content_type == "text/plain; version=0.0.4; charset=utf-8"
    for name in (
        "lmrun_build_info",
        "lmrun_http_requests_total",
        "lmrun_http_request_seconds_count",
        "lmrun_prompt_tokens_total",
        "lmrun_generated_tokens_total",
        "lmrun_cached_tokens_total",
        "lmrun_drafted_tokens_total",
        "lmrun_accepted_tokens_total",
        "lmrun_prefix_cache_hits_total",
        "lmrun_time_to_first_token_seconds_bucket",
        "lmrun_inter_token_seconds_bucket",
        "lmrun_queue_length",
        "lmrun_sequences_active",
        "lmrun_kv_tokens_used",
        "lmrun_worker_restarts_total",
        "lmrun_model_load_seconds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ):
        assert f"# TYPE {name.removesuffix('_bucket').removesuffix('_count')} " in scraped.text
    assert "_created" not in scraped.text


def test_an_answer_counts_its_request_and_its_tokens(watched: Watched, before: Scraped) -> None:
    usages = [watched.chat("hi").json["usage"] for _ in range(3)]
    scraped = Scraped(watched, before)
    assert requests(scraped, 200) == 3
    assert scraped.get("lmrun_generations_total", model="a", outcome="finished") == 3
    for name, field in (("prompt", "prompt_tokens"), ("generated", "completion_tokens")):
        expected = sum(usage[field] for usage in usages)
        assert scraped.get(f"lmrun_{name}_tokens_total", model="a") == expected
    assert scraped.get("lmrun_time_to_first_token_seconds_count", model="a") == 3


def test_cached_and_guessed_tokens_are_counted() -> None:
    metrics = Metrics(dict)
    metrics.count_usage("a", Usage(10, 5, 8, drafted_tokens=4, accepted_tokens=3), rest_s=2.0)
    metrics.count_usage("a", Usage(10, 1), rest_s=0.0)
    samples = parse(metrics.render().decode())

    def get(name: str) -> float:
        return samples[name, frozenset({("model", "a")})]

    counts = {"prompt": 20, "generated": 6, "cached": 8, "drafted": 4, "accepted": 3}
    assert {name: get(f"lmrun_{name}_tokens_total") for name in counts} == counts
    assert get("lmrun_prefix_cache_hits_total") == 1
    assert get("lmrun_time_per_output_token_seconds_sum") == 0.5
    assert get("lmrun_time_per_output_token_seconds_count") == 1


def test_instances_are_read_when_somebody_asks() -> None:
    instance = make_instance("a")
    metrics = Metrics(lambda: {"a": instance})
    instance.in_flight, instance.active, instance.waiting, instance.restarts = 5, 2, 3, 1
    instance.load_s = 1.5
    instance.usage = EngineUsage(kv_tokens=100, kv_tokens_used=40, prefix_cache_entries=7)
    samples = parse(metrics.render().decode())
    expected = {
        "lmrun_model_ready": 1,
        "lmrun_model_load_seconds": 1.5,
        "lmrun_requests_in_flight": 5,
        "lmrun_sequences_active": 2,
        "lmrun_queue_length": 3,
        "lmrun_worker_restarts_total": 1,
        "lmrun_kv_tokens": 100,
        "lmrun_kv_tokens_used": 40,
        "lmrun_prefix_cache_entries": 7,
    }
    for name, value in expected.items():
        assert samples[name, frozenset({("model", "a")})] == value, name
    instance.usage = None
    assert b'lmrun_kv_tokens{model="a"}' not in metrics.render()


def test_gaps_between_pieces_are_measured(watched: Watched, before: Scraped) -> None:
    watched.chat("slowly")
    scraped = Scraped(watched, before)
    assert scraped.get("lmrun_inter_token_seconds_count", model="a") == 2
    total = scraped.get("lmrun_inter_token_seconds_sum", model="a")
    assert total is not None and 0.1 < total < 2
    assert scraped.get("lmrun_time_per_output_token_seconds_count", model="a") == 1


def test_failures_are_counted_by_their_status(watched: Watched, before: Scraped) -> None:
    assert watched.chat("fail").status == 500
    assert watched.chat("hi", temperature="warm").status == 400
    assert watched.chat("hi", model="nobody").status == 404
    scraped = Scraped(watched, before)
    assert requests(scraped, 500) == 1
    assert requests(scraped, 400, model="") == 1
    assert requests(scraped, 404, model="") == 1
    assert scraped.get("lmrun_generations_total", model="a", outcome="failed") == 1


def test_a_restart_is_counted(watched: Watched, before: Scraped) -> None:
    assert watched.chat("crash").status == 500
    wait_until(lambda: watched.pool.instances["a"].state == "ready")
    assert watched.chat("hi").status == 200
    scraped = Scraped(watched, before)
    assert scraped.get("lmrun_worker_restarts_total", model="a") == 1
    assert (scraped.get("lmrun_model_load_seconds", model="a") or 0) > 0
    assert scraped.get("lmrun_model_ready", model="a") == 1


@pytest.mark.parametrize("path", ["/evil{x}", "/v1/models/no-such-model", "/" + "x" * 300])
def test_nothing_a_client_makes_up_becomes_a_label(watched: Watched, path: str) -> None:
    for method in ("GET", "BREW", "POST"):
        watched.port.ask(method, path, {})
    watched.chat("hi", model="made-up-model")
    text = Scraped(watched).text
    assert not any(word in text for word in ("evil", "no-such-model", "xxxx", "BREW", "made-up"))
    assert 'method="other"' in text


def test_the_series_of_many_different_requests_stay_few() -> None:
    metrics = Metrics(dict)
    before = metrics.render().count(b"\n")
    for n in range(1000):
        record = Record(f"METHOD{n}", f"/{n}", "::1", request_id=str(n), status=404)
        metrics.count_request(record)
    assert metrics.render().count(b"\n") < before + 30


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(dict), Metrics(dict)
    one.count_generation("a", "finished")
    assert b'lmrun_generations_total{model="a"' in one.render()
    assert b'lmrun_generations_total{model="a"' not in other.render()


def test_health_answers_are_counted_but_not_logged(
    watched: Watched, before: Scraped, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[Any]:
        messages = [it.getMessage() for it in caplog.records if it.name == "lmrun.access"]
        # What `before` asked for may be written down only now.
        return [message for message in messages if "/metrics" not in message]

    watched.port.ask("GET", "/health")
    watched.port.ask("POST", "/health", {})
    wait_until(lambda: bool(lines()))
    assert lines() == ["POST /health 405"]
    labels = {"method": "GET", "route": "/health", "status": "200", "model": ""}
    assert Scraped(watched, before).get("lmrun_http_requests_total", **labels) == 1
