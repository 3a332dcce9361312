"""The process that renders a model's chat template: `python -m lmrun.worker.rendering`.

It is expendable: the kernel ends it at the deadline, whatever the template is doing, and refuses
it memory. It knows no model and no engine.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jinja2

from lmrun.worker import hygiene
from lmrun.worker.rendering import exchange, templates
from lmrun.worker.rendering.templates import Renderer

DEADLINE_S = 1.0
MEMORY_BYTES = 256 * 2**20


def main() -> int:
    """Read the template, then do one job after the other until the worker is gone."""
    hygiene.die_with_parent()
    hygiene.refuse_core_dumps()
    first = exchange.read(sys.stdin.buffer)
    if first is None:
        return 0
    limit_memory(MEMORY_BYTES)
    given = exchange.decode_template(first)
    variables = {"bos_token": given.bos_token, "eos_token": given.eos_token}
    renderer: Renderer | None = None
    while (said := exchange.read(sys.stdin.buffer)) is not None:
        job = exchange.decode_job(said)
        with deadline(DEADLINE_S):
            answer, renderer = _answer(given.source, renderer, job, variables)
        exchange.write(sys.stdout.buffer, answer)
    return 0


def _answer(
    source: str,
    renderer: Renderer | None,
    job: exchange.Job,
    variables: Mapping[str, str],
) -> tuple[exchange.Rendered, Renderer | None]:
    """The answer, and the compiled template for the next time."""
    try:
        renderer = renderer or templates.make_renderer(source, variables)
        text = renderer(job.conversation, job.marker) if job.conversation is not None else ""
    except Exception as error:  # the template is foreign code: it may raise anything
        is_too_long = isinstance(error, templates.OutputTooLong)
        return exchange.Rendered(error=_describe(error), is_too_long=is_too_long), renderer
    return exchange.Rendered(text=text), renderer


def _describe(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"it needs more than {MEMORY_BYTES // 2**20} MiB of memory"
    if isinstance(error, RecursionError):
        return "it nests too deeply"
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"
    if isinstance(error, jinja2.TemplateError | templates.OutputTooLong):
        return str(error)
    return f"{type(error).__name__}: {error}"


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let the kernel end this process when the block takes longer."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory(more_bytes: int) -> None:
    """Refuse this process more than `more_bytes` above what it uses now. Linux only.

    Elsewhere the deadline bounds what can be filled.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    pages = int(statm.read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _run(body: Callable[[], int]) -> None:
    try:
        sys.exit(body())
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    _run(main)
