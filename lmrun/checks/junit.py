"""Results as JUnit XML, the form that CI systems read. Pure.

The schema is that of Jenkins' xUnit plugin: https://github.com/jenkinsci/xunit-plugin,
`junit-10.xsd`. `failure`: the answer is wrong. `error`: there was nothing to compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from lmrun.checks.values import CheckResult

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ERROR_TYPES = {"stale": "stale_golden", "error": "no_answer"}


def encode_junit(results: Sequence[CheckResult], profile: str, timestamp: str) -> bytes:
    """The document. `profile`: what the suite is called. `timestamp`: ISO 8601 without a zone."""
    failed = sum(it.status == "failed" for it in results)
    counts = {
        "tests": str(len(results)),
        "failures": str(failed),
        "errors": str(sum(it.status in _ERROR_TYPES for it in results)),
        "time": _seconds(sum(it.seconds for it in results)),
    }
    root = ElementTree.Element("testsuites", {"name": "lmrun check", **counts})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {"name": _clean(profile), **counts, "skipped": "0", "timestamp": timestamp},
    )
    for result in results:
        _add_case(suite, result)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_case(suite: ElementTree.Element, result: CheckResult) -> None:
    attributes = {
        "name": result.name,
        "classname": f"lmrun.checks.{_clean(result.model)}",
        "time": _seconds(result.seconds),
    }
    case = ElementTree.SubElement(suite, "testcase", attributes)
    for failure in result.failures:
        message = {"type": failure.expectation, "message": _clean(failure.message)}
        ElementTree.SubElement(case, "failure", message).text = _clean(failure.diff)
    if result.status in _ERROR_TYPES:
        message = {"type": _ERROR_TYPES[result.status], "message": _clean(result.message)}
        ElementTree.SubElement(case, "error", message)
    if result.reply is not None:
        ElementTree.SubElement(case, "system-out").text = _clean(result.reply.answer.text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _clean(text: str) -> str:
    """What XML 1.0 cannot hold becomes a mark: models say anything."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
