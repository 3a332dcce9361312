"""The rows of the table that show what the server does."""

from __future__ import annotations

from lmrun.api.routes import Response, Route
from lmrun.api.telemetry.events import LogEvent
from lmrun.api.telemetry.handlers import make_logs_handler, make_metrics_handler
from lmrun.api.telemetry.telemetry import Telemetry


def telemetry_routes(telemetry: Telemetry) -> tuple[Route, ...]:
    """On the port and on the control socket alike."""
    return (
        Route(
            "GET",
            "/metrics",
            make_metrics_handler(telemetry.metrics),
            "Counters, gauges and histograms for Prometheus",
            scope="admin",
            responses={200: (Response("The metrics", str, "text/plain; version=0.0.4"),)},
        ),
        Route(
            "GET",
            "/lmrun/v1/logs",
            make_logs_handler(telemetry.feed),
            "The server's log, and prompts and outputs of models, as server-sent events; "
            "`source=server,model`, and `last` lines of the server's log first",
            scope="admin",
            query=("source", "last"),
            responses={200: (Response("A stream of events", LogEvent, "text/event-stream"),)},
            is_endless=True,
        ),
    )
