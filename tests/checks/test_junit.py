"""JUnit reports: of the form that CI systems read, and read back by a package that does so."""

from __future__ import annotations

import io
from pathlib import Path

import junitparser
import xmlschema

from lmrun.checks.junit import encode_junit
from lmrun.checks.values import CheckResult, Failure
from tests.checks.values import reply

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
TIMESTAMP = "2026-11-25T10:00:00"
RESULTS = (
    CheckResult("capital", "assistant", "passed", 0.5, reply=reply()),
    CheckResult(
        "wrong",
        "org/model",
        "failed",
        1.25,
        failures=(
            Failure("equals", "the answer is another one", "-a <b> & c\n+ d"),
            Failure("max_ttft", "too slow"),
        ),
        reply=reply("\x1b[2J\x00 \ud800 \N{GRINNING FACE} ]]> \r\n"),
    ),
    CheckResult("old", "assistant", "stale", 0.0, message="made under another", reply=reply()),
    CheckResult("gone", "assistant", "error", 3.0, message="The worker died."),
)


def parse(*results: CheckResult) -> junitparser.JUnitXml:
    document = encode_junit(results, "p.yaml", TIMESTAMP)
    SCHEMA.validate(io.BytesIO(document))
    return junitparser.JUnitXml.fromroot(junitparser.JUnitXml.fromstring(document)._elem)


def test_every_result_is_a_case_of_one_suite() -> None:
    (suite,) = parse(*RESULTS)
    assert (suite.name, suite.timestamp, suite.time) == ("p.yaml", TIMESTAMP, 4.75)
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 1, 2, 0)
    assert [(case.name, case.classname, case.time) for case in suite] == [
        ("capital", "lmrun.checks.assistant", 0.5),
        ("wrong", "lmrun.checks.org/model", 1.25),
        ("old", "lmrun.checks.assistant", 0.0),
        ("gone", "lmrun.checks.assistant", 3.0),
    ]


def test_a_wrong_answer_is_a_failure_and_one_that_cannot_be_judged_an_error() -> None:
    (suite,) = parse(*RESULTS)
    passed, failed, stale, gone = suite
    assert passed.result == []
    assert [(type(it).__name__, it.type, it.message) for it in failed.result] == [
        ("Failure", "equals", "the answer is another one"),
        ("Failure", "max_ttft", "too slow"),
    ]
    assert failed.result[0].text == "-a <b> & c\n+ d"
    assert [(type(it).__name__, it.type) for it in stale.result] == [("Error", "stale_golden")]
    assert [(type(it).__name__, it.message) for it in gone.result] == [
        ("Error", "The worker died.")
    ]


def test_what_xml_cannot_hold_is_marked_whatever_a_model_says() -> None:
    (suite,) = parse(*RESULTS)
    said = [case.system_out for case in suite][1]
    assert said is not None
    assert "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in said
    assert "\N{GRINNING FACE} ]]>" in said


def test_no_result_is_an_empty_suite() -> None:
    (suite,) = parse()
    assert (suite.tests, list(suite)) == (0, [])
