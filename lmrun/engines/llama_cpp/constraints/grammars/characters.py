"""Rules over characters, as a grammar for llguidance; or why they are none. No recursion.

llguidance reads in two stages, and its lexer takes the longest match: `[a-z]+ "ing"` would never
end. So every lexeme here is one character, and the parser sees exactly the language of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lmrun.engines.llama_cpp.constraints.grammars.gbnf import ROOT, Alternatives, Characters, Item
from lmrun.engines.llama_cpp.constraints.refusals import refuse

Rules = Mapping[str, Alternatives]
Holds = Callable[[Item, set[str]], bool]


def to_lark(rules: Rules) -> str:
    """The rules in llguidance's dialect of Lark. Raises InvalidParameter.

    Refused are rules that begin with themselves, as llama.cpp refuses them, and a root from which
    no text can ever be finished.
    """
    _require_finite(rules)
    _require_no_left_recursion(rules)
    names = {name: f"r{index}" for index, name in enumerate(rules)}
    terminals: dict[Characters, str] = {}
    lines = [f"start: {names[ROOT]}"]
    for name, alternatives in rules.items():
        options = (_write_items(items, names, terminals) for items in alternatives)
        lines.append(f"{names[name]}: {' | '.join(options)}")
    lines += [f"{name}: /{_write_set(characters)}/" for characters, name in terminals.items()]
    return "\n".join(lines) + "\n"


def _write_items(
    items: list[Item], names: Mapping[str, str], terminals: dict[Characters, str]
) -> str:
    return " ".join(_write_item(item, names, terminals) for item in items) or '""'


def _write_item(item: Item, names: Mapping[str, str], terminals: dict[Characters, str]) -> str:
    if isinstance(item.what, str):
        text = names[item.what]
    else:
        text = terminals.setdefault(item.what, f"T{len(terminals)}")
    if (item.least, item.most) == (1, 1):
        return text
    if item.most is None:
        return (
            f"{text}{'*' if item.least == 0 else '+' if item.least == 1 else f'{{{item.least},}}'}"
        )
    return f"{text}{{{item.least},{item.most}}}" if item.most else '""'


def _write_set(characters: Characters) -> str:
    if not characters.ranges:
        return r"(?s:.)"
    ranges = "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in characters.ranges)
    return f"[{'^' if characters.negated else ''}{ranges}]"


def _require_finite(rules: Rules) -> None:
    """A rule ends when all that one of its alternatives needs does: a least fixpoint."""
    ending = _fix(rules, lambda item, known: _is_optional(item) or _is_known(item, known, True))
    if ROOT not in ending:
        raise refuse(f"the grammar's rule `{ROOT}` can never come to an end")


def _require_no_left_recursion(rules: Rules) -> None:
    empty = _fix(rules, lambda item, known: _is_optional(item) or _is_known(item, known, False))
    firsts = {name: list(_firsts(alternatives, empty)) for name, alternatives in rules.items()}
    done: set[str] = set()
    for start in rules:
        open_rules = {start: iter(firsts[start])}
        while open_rules:
            name = next(reversed(open_rules))
            following = next(open_rules[name], None)
            if following is None:
                done.add(name)
                del open_rules[name]
            elif following in open_rules:
                raise refuse(
                    "the grammar has a rule that begins with itself",
                    at=f"rule {following.partition('.')[0][:60]}",
                    hint="Say it with `*` or `+`.",
                )
            elif following not in done:
                open_rules[following] = iter(firsts[following])


def _firsts(alternatives: Alternatives, empty: set[str]) -> Iterable[str]:
    """Rules with which a rule may begin."""
    for items in alternatives:
        for item in items:
            if isinstance(item.what, str):
                yield item.what
            if not _is_optional(item) and not _is_known(item, empty, False):
                break


def _is_optional(item: Item) -> bool:
    return item.least == 0


def _is_known(item: Item, known: set[str], characters: bool) -> bool:
    return item.what in known if isinstance(item.what, str) else characters


def _fix(rules: Rules, holds: Holds) -> set[str]:
    """The least set of rules of which one alternative has only items that hold."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, alternatives in rules.items():
        for item in (item for items in alternatives for item in items):
            if isinstance(item.what, str):
                users[item.what].append(name)
    known: set[str] = set()
    waiting = list(rules)
    while waiting:
        name = waiting.pop()
        if name not in known and any(
            all(holds(item, known) for item in items) for items in rules[name]
        ):
            known.add(name)
            waiting.extend(users[name])
    return known
