"""Checks between fields, on resolved data that may still be wrong elsewhere. It knows no text."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

from lmrun.profile.schema import is_exposed
from lmrun.profile.text.nodes import Path
from lmrun.settings.load import LoadConfig
from lmrun.settings.quantities import parse_size
from lmrun.settings.secret import Secret

MIN_EXPOSED_KEY_LENGTH = 32
_NAMES_SHOWN = 20
_POOL = ("kv_tokens", "context_length", "max_parallel_predictions", "unified_kv_cache")
"""Settings that say how large a KV cache is."""


class Finding(NamedTuple):
    """Something wrong at the value at `path`."""

    path: Path
    message: str


def find_contradictions(data: Any) -> Iterator[Finding]:
    """Everything that is wrong between fields; values of a wrong type are passed over."""
    profile = _mapping(data)
    models = _mapping(profile.get("models"))
    server = _mapping(profile.get("server"))
    yield from _unknown_presets(models, _mapping(profile.get("presets")))
    yield from _contradicting_loads(models)
    yield from _taken_identifiers(models)
    yield from _both_identifiers(models)
    yield from _repeated_key_names(server)
    yield from _exposed_server(server)


def suggest(word: str, known: list[str]) -> str:
    """`; did you mean …` or the choices; empty when there are none."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    if not known:
        return ""
    more = ", …" if len(known) > _NAMES_SHOWN else ""
    return f"; known here: {', '.join(known[:_NAMES_SHOWN])}{more}"


def _unknown_presets(models: dict[str, Any], presets: dict[str, Any]) -> Iterator[Finding]:
    for key, model in models.items():
        preset = _mapping(model).get("preset")
        if isinstance(preset, str) and preset not in presets:
            yield Finding(("models", key, "preset"), _no_such(preset, presets))
        for index, name in enumerate(_list(_mapping(model).get("prewarm"))):
            if isinstance(name, str) and name not in presets:
                yield Finding(("models", key, "prewarm", index), _no_such(name, presets))


def _contradicting_loads(models: dict[str, Any]) -> Iterator[Finding]:
    """Load settings that exclude each other, whatever the model's file says."""
    for key, model in models.items():
        yield from _too_few_cells(key, _mapping(model))
        cache = _mapping(_mapping(_mapping(model).get("load")).get("prefix_cache"))
        if not _is_nothing(cache.get("ram")):
            continue
        if cache.get("persist") is True:
            path = ("models", key, "load", "prefix_cache", "persist")
            yield Finding(
                path, "keeps what is in `ram`, which is nothing; give it some, or leave it out"
            )
        if _list(_mapping(model).get("prewarm")):
            message = (
                "fills the prefix cache, whose `ram` is nothing; give it some, or leave it out"
            )
            yield Finding(("models", key, "prewarm"), message)


def _too_few_cells(key: str, model: dict[str, Any]) -> Iterator[Finding]:
    """A KV cache that cannot hold one sequence, of the model or of one of its instances, or that is
    not the sum of the separate ones."""
    load = _mapping(model.get("load"))
    loads: list[tuple[Path, dict[str, Any]]] = [(("models", key, "load", "kv_tokens"), load)]
    for index, instance in enumerate(_list(model.get("instances"))):
        own = _mapping(_mapping(instance).get("load"))
        if own:
            where = next((name for name in _POOL if name in own), "context_length")
            loads.append((("models", key, "instances", index, "load", where), {**load, **own}))
    for path, each in loads:
        length, pool = each.get("context_length"), each.get("kv_tokens")
        if isinstance(length, int) and isinstance(pool, int) and pool < length:
            must = f"must be at least context_length, {length}"
            if path[-1] != "kv_tokens":
                must = f"must be at most the model's kv_tokens, {pool}"
            yield Finding(path, f"{must}: one sequence has to fit")
        elif _is_other_than_caches(each):
            yield Finding(
                path,
                "with `unified_kv_cache: false` kv_tokens is context_length x "
                "max_parallel_predictions; leave it out",
            )


def _is_other_than_caches(load: dict[str, Any]) -> bool:
    """Whether `kv_tokens` is something else than separate caches of one context each."""
    length, pool = load.get("context_length"), load.get("kv_tokens")
    default = LoadConfig.model_fields["max_parallel_predictions"].default
    count = load.get("max_parallel_predictions", default)
    if load.get("unified_kv_cache") is not False:
        return False
    is_known = isinstance(length, int) and isinstance(pool, int) and isinstance(count, int)
    return is_known and pool != length * count


def _is_nothing(size: Any) -> bool:
    try:
        return parse_size(size) == 0
    except ValueError:
        return False


def _no_such(preset: str, presets: dict[str, Any]) -> str:
    hint = suggest(preset, list(presets)) or "; this profile has no `presets`"
    return f"no preset has this name{hint}"


def _taken_identifiers(models: dict[str, Any]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for path, identifier in _identifiers(models):
        key = str(path[1])
        if identifier != key and identifier in models:
            yield Finding(path, "is the key of another model; choose another identifier")
        elif identifier in owners:
            owner = owners[identifier]
            yield Finding(path, f"model `{owner}` has this identifier already; choose another")
        else:
            owners[identifier] = key


def _identifiers(models: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for key, model in models.items():
        named: list[tuple[Path, Any]] = [
            (("models", key, "identifier"), _mapping(model).get("identifier"))
        ]
        named += [
            (("models", key, "instances", index, "identifier"), _mapping(it).get("identifier"))
            for index, it in enumerate(_list(_mapping(model).get("instances")))
        ]
        yield from ((path, name) for path, name in named if isinstance(name, str))


def _both_identifiers(models: dict[str, Any]) -> Iterator[Finding]:
    for key, model in models.items():
        if _mapping(model).get("identifier") and _list(_mapping(model).get("instances")):
            path = ("models", key, "identifier")
            yield Finding(path, "`instances` have identifiers of their own; leave one of both out")


def _repeated_key_names(server: dict[str, Any]) -> Iterator[Finding]:
    names: set[str] = set()
    for index, key in enumerate(_list(server.get("api_keys"))):
        name = _mapping(key).get("name")
        if isinstance(name, str) and name in names:
            path = ("server", "api_keys", index, "name")
            yield Finding(path, "another API key has this name already; choose another")
        elif isinstance(name, str):
            names.add(name)


def _exposed_server(server: dict[str, Any]) -> Iterator[Finding]:
    host = server.get("host")
    if not isinstance(host, str) or not is_exposed(host):
        return
    keys = server.get("api_keys")
    if not keys:
        yield Finding(
            ("server", "host"),
            "an address other than loopback needs an API key; "
            "add one to `server.api_keys`, or use 127.0.0.1",
        )
    for index, key in enumerate(_list(keys)):
        secret = _mapping(key).get("key")
        if isinstance(secret, Secret) and secret.length < MIN_EXPOSED_KEY_LENGTH:
            yield Finding(
                ("server", "api_keys", index, "key"),
                f"a key for an address other than loopback needs at least "
                f"{MIN_EXPOSED_KEY_LENGTH} characters; make one: openssl rand -hex 32",
            )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
