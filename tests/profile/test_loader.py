"""What the loader says about profiles that are YAML but not right."""

from __future__ import annotations

import pytest

from lmrun.profile.loader import MAX_PROBLEMS
from tests.profile.support import find_problems, show

V = "version: 1\n"
M = V + "models:\n  m:\n    source: file:m.gguf\n"
P = V + "presets:\n  p:\n    prediction:\n"
LONG = "k" * 32

WRONG = {
    "no version": ("server: {}\n", "main.yaml:1:1: version: is required: the format's version"),
    "another version": ("version: 2\n", "main.yaml:1:10: version: must be 1"),
    "version as text": ("version: '1'\n", "main.yaml:1:10: version: must be 1"),
    "version as boolean": ("version: true\n", "main.yaml:1:10: version: must be 1"),
    "version as float": ("version: 1.0\n", "main.yaml:1:10: version: must be 1"),
    "unknown section": (
        V + "modles: {}\n",
        "main.yaml:2:1: modles: unknown key; did you mean `models`?",
    ),
    "unknown key, nothing close": (
        V + "server: {zzz: 1}\n",
        "main.yaml:2:10: server.zzz: unknown key; known here: host, port, cors, api_keys, "
        "allowed_hosts, jit, memory, limits",
    ),
    "unknown load setting": (
        M + "    load: {context_lenght: 8}\n",
        "main.yaml:5:12: models.m.load.context_lenght: unknown key; did you mean `context_length`?",
    ),
    "no state": (
        M + "    state: lazy\n",
        "main.yaml:5:12: models.m.state: must be `loaded`, `on_demand` or `absent`",
    ),
    "time that never comes": (
        M + "    ttl: 0s\n",
        "main.yaml:5:10: models.m.ttl: must be greater than 0",
    ),
    "a limit that is neither": (
        V + "server: {memory: {limit: 80}}\n",
        "main.yaml:2:26: server.memory.limit: must be a share like 80%, or a size like 12GiB",
    ),
    "more than everything": (
        V + "server: {memory: {limit: 101%}}\n",
        "main.yaml:2:26: server.memory.limit: a share must be more than 0% and at most 100%",
    ),
    "an identifier and instances": (
        M + "    identifier: a\n    instances: [{identifier: b}]\n",
        "main.yaml:5:17: models.m.identifier: `instances` have identifiers of their own",
    ),
    "an instance by another's name": (
        M + "    instances: [{identifier: a}, {identifier: a}]\n",
        "main.yaml:5:47: models.m.instances[1].identifier: model `m` has this identifier already",
    ),
    "an instance of too few cells": (
        M + "    load: {kv_tokens: 64}\n"
        "    instances: [{identifier: a, load: {context_length: 128}}]\n",
        "main.yaml:6:56: models.m.instances[0].load.context_length: must be at most the "
        "model's kv_tokens, 64",
    ),
    "unknown scope": (
        V + 'server: {api_keys: [{name: a, key: "${env:K}", scopes: [root]}]}\n',
        "main.yaml:2:57: server.api_keys[0].scopes[0]: must be `inference`, `models`,",
    ),
    "unknown leniency": (
        V + "server: {compat: {unknown_parameters: ignore}}\n",
        "main.yaml:2:39: server.compat.unknown_parameters: must be",
    ),
    "time without a unit": (
        V + "server: {limits: {request_time: 30}}\n",
        "main.yaml:2:33: server.limits.request_time: ",
    ),
    "planned source": (
        V + "models: {m: {source: hf:org/repo}}\n",
        "main.yaml:2:22: models.m.source: a model from the Hugging Face hub is not supported",
    ),
    "source without a scheme": (
        V + "models: {m: {source: ./m.gguf}}\n",
        "main.yaml:2:22: models.m.source: is no source that lmrun understands. "
        "A source is `file:./model.gguf`",
    ),
    "package without a version": (
        V + "models: {m: {source: package:foo/m.gguf}}\n",
        "main.yaml:2:22: models.m.source: is no source that lmrun understands. "
        "Write `package:NAME==VERSION/path/in/package.gguf`, with the exact version.",
    ),
    "package with a range": (
        V + "models: {m: {source: package:foo==1.*/m.gguf}}\n",
        "main.yaml:2:22: models.m.source: is no source that lmrun understands. "
        "Write it as the index does",
    ),
    "package path that leaves the package": (
        V + "models: {m: {source: package:foo==1/../../etc/passwd}}\n",
        "main.yaml:2:22: models.m.source: is no source that lmrun understands. "
        "Write a plain relative path",
    ),
    "source with an empty path": (
        V + "models: {m: {source: 'file:'}}\n",
        "main.yaml:2:22: models.m.source: is no source that lmrun understands",
    ),
    "no source": (
        V + "models:\n  m: {state: loaded}\n",
        "main.yaml:3:6: models.m.source: is required: where the file is",
    ),
    "model key": (
        V + "models: {'a b': {source: file:m}}\n",
        'main.yaml:2:10: models["a b"]: the key must be letters, digits',
    ),
    "model as text": (V + "models: {m: x}\n", "main.yaml:2:13: models.m: must be a mapping"),
    "model left empty": (
        V + "models:\n  m:\n",
        "main.yaml:3:5: models.m: must be a mapping (`key: value`), not empty; give a value",
    ),
    "models as list": (V + "models: [a]\n", "main.yaml:2:9: models: must be a mapping"),
    "identifier": (
        M + "    identifier: a b\n",
        "main.yaml:5:17: models.m.identifier: must be letters",
    ),
    "state": (
        M + "    state: up\n",
        "main.yaml:5:12: models.m.state: must be `loaded`, `on_demand` or `absent`",
    ),
    "number too small": (
        M + "    load: {context_length: 4}\n",
        "main.yaml:5:28: models.m.load.context_length: must be at least 8",
    ),
    "number too large": (
        V + "server: {port: 65536}\n",
        "main.yaml:2:16: server.port: must be at most 65535",
    ),
    "fraction": (
        M + "    load: {threads: 1.5}\n",
        "main.yaml:5:21: models.m.load.threads: must be a whole number",
    ),
    "whole number as fraction": (
        M + "    load: {threads: 2.0}\n",
        "main.yaml:5:21: models.m.load.threads: must be a whole number",
    ),
    "number in quotes": (
        V + "server:\n  port: '1234'\n",
        "main.yaml:3:9: server.port: must be a whole number, not text; remove the quotes",
    ),
    "number with leading zeros": (
        V + "server:\n  port: 0777\n",
        "main.yaml:3:9: server.port: must be a whole number, not text",
    ),
    "boolean as number": (
        P + "      top_k: true\n",
        "main.yaml:5:14: presets.p.prediction.top_k: must be a whole number, not true or false",
    ),
    "boolean of YAML 1.1": (
        M + "    load: {flash_attention: yes}\n",
        "main.yaml:5:29: models.m.load.flash_attention: must be true or false, not text",
    ),
    "number as text": (
        V + "presets: {p: {system_prompt: 12}}\n",
        "main.yaml:2:30: presets.p.system_prompt: must be text, not a number; put it in quotes",
    ),
    "not a number": (
        P + "      temperature: .nan\n",
        "main.yaml:5:20: presets.p.prediction.temperature: must be a finite number",
    ),
    "infinite": (
        P + "      temperature: 1e999\n",
        "main.yaml:5:20: presets.p.prediction.temperature: must be a finite number",
    ),
    "text for a list": (
        P + "      stop_strings: END\n",
        "main.yaml:5:21: presets.p.prediction.stop_strings: must be a list, not text",
    ),
    "list entry": (
        P + "      stop_strings: [a, 1]\n",
        "main.yaml:5:25: presets.p.prediction.stop_strings[1]: must be text, not a number",
    ),
    "empty list entry": (
        P + "      stop_strings: ['']\n",
        "main.yaml:5:22: presets.p.prediction.stop_strings[0]: must not be empty",
    ),
    "token id": (
        P + "      logit_bias: {x: 1}\n",
        "main.yaml:5:20: presets.p.prediction.logit_bias.x: the key must be a token id",
    ),
    "union of words and numbers": (
        M + "    load: {gpu: {ratio: on}}\n",
        "main.yaml:5:25: models.m.load.gpu.ratio: must be `off` or `max`, or a number, not text",
    ),
    "union, number too large": (
        M + "    load: {gpu: {ratio: 7}}\n",
        "main.yaml:5:25: models.m.load.gpu.ratio: must be at most 1",
    ),
    "size without a unit": (
        V + "server: {limits: {body: 1000}}\n",
        "main.yaml:2:25: server.limits.body: a size needs a number and a unit",
    ),
    "cors for everybody": (
        V + "server: {cors: '*'}\n",
        "main.yaml:2:16: server.cors: `*` would let",
    ),
    "cors with a star in the list": (
        V + "server: {cors: ['*']}\n",
        "main.yaml:2:17: server.cors[0]: must be an exact origin",
    ),
    "cors as word": (
        V + "server: {cors: no}\n",
        "main.yaml:2:16: server.cors: must be false, or a list",
    ),
    "cors as number": (
        V + "server: {cors: 0}\n",
        "main.yaml:2:16: server.cors: must be false, or a list",
    ),
    "cors without an origin": (
        V + "server: {cors: []}\n",
        "main.yaml:2:16: server.cors: must not be",
    ),
    "host name": (
        V + "server: {host: here.lan}\n",
        "main.yaml:2:16: server.host: must be an IP address",
    ),
    "host in brackets": (
        V + "server: {host: '[::1]'}\n",
        "main.yaml:2:16: server.host: must be an IP",
    ),
    "exposed without a key": (
        V + "server: {host: 0.0.0.0}\n",
        "main.yaml:2:16: server.host: an address other than loopback needs an API key",
    ),
    "exposed with a short key": (
        V + 'server: {host: "::", api_keys: [{name: a, key: "${env:K}"}]}\n',
        "main.yaml:2:48: server.api_keys[0].key: a key for an address other than loopback needs at "
        "least 32 characters",
    ),
    "two keys of one name": (
        V + "server:\n  api_keys:\n"
        '    - {name: a, key: "${env:K}"}\n'
        '    - {name: a, key: "${env:L}"}\n',
        "main.yaml:5:14: server.api_keys[1].name: another API key has this name already",
    ),
    "two adapters of one name": (
        M + "    load: {adapters: [{source: file:a.gguf}, {source: file:b/a.gguf}]}\n",
        "main.yaml:5:22: models.m.load.adapters: two adapters are called `a`; "
        "give them different names",
    ),
    "adapter from nowhere": (
        M + "    load: {adapters: [{source: a.gguf}]}\n",
        "main.yaml:5:32: models.m.load.adapters[0].source: is no source that lmrun understands. "
        "A source is `file:./model.gguf` (relative to the profile) or "
        "`package:NAME==VERSION/path/in/package.gguf`.",
    ),
    "include as text": (
        V + "include: base.yaml\n",
        "main.yaml:2:10: include: must be a list of files",
    ),
    "include of a number": (
        V + "include: [1]\n",
        "main.yaml:2:11: include: must be the name of a file",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_profile_has_one_problem_with_its_place_and_what_would_be_right(
    text: str, expected: str
) -> None:
    problems = find_problems(text, {"K": "short", "L": LONG})
    assert len(problems) == 1, show(problems)
    assert show(problems).startswith(expected)


def test_every_problem_is_reported_at_once_in_the_order_of_the_text() -> None:
    text = (
        "version: 1\n"
        "server: {port: no, host: 0.0.0.0}\n"
        "models:\n"
        "  a: {source: hf:x, preset: nope, identifer: b}\n"
        "  b: {load: {context_length: 1, adapter: []}, identifier: a}\n"
        "presets: {c: {system_prompt: '${env:UNSET}'}}\n"
        "include: [missing.yaml]\n"
    )
    places = [(problem.line, problem.path) for problem in find_problems(text)]
    assert places == [
        (2, "server.port"),
        (4, "models.a.source"),
        (4, "models.a.identifer"),
        (5, "models.b.load.context_length"),
        (5, "models.b.load.adapter"),
        (6, "presets.c.system_prompt"),
        (7, "include"),
    ]


def test_a_hopeless_profile_gets_a_bounded_report() -> None:
    text = V + "".join(f"key{number}: 1\n" for number in range(MAX_PROBLEMS + 100))
    problems = find_problems(text)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == f"more than {MAX_PROBLEMS} problems; the others are not shown"


def test_an_aliased_value_that_is_wrong_is_reported_where_it_stands() -> None:
    text = V + "models:\n  a: &x {source: file:m, load: {threads: 0}}\n  b: *x\n"
    assert [(p.line, p.column, p.path) for p in find_problems(text)] == [
        (3, 42, "models.a.load.threads"),
        (3, 42, "models.b.load.threads"),
    ]
