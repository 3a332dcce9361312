"""The policy of the applied profile, made ready for decisions. Pure; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lmrun.profile.loader import LoadedProfile
from lmrun.profile.schema import ModelConfig, Profile
from lmrun.profile.tooling.policy import PolicyConfig, PolicyRule


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """`root`: the path of the profile's root file, empty where none is applied. `config`: with
    rules that name models by all names."""

    root: str
    config: PolicyConfig
    profile: Profile | None = None


def make_policy(loaded: LoadedProfile | None) -> AppliedPolicy:
    """The policy in which rules name models by every name that a caller may use for them."""
    if loaded is None:
        return AppliedPolicy("", PolicyConfig())
    policy, models = loaded.profile.policy, loaded.profile.models
    rules = tuple(_with_all_names(rule, models) for rule in policy.rules)
    config = policy.model_copy(update={"rules": rules})
    return AppliedPolicy(str(loaded.root), config, loaded.profile)


def _with_all_names(rule: PolicyRule, models: Mapping[str, ModelConfig]) -> PolicyRule:
    if not rule.models:
        return rule
    names = (*rule.models, *_further_names(rule, models))
    return rule.model_copy(update={"models": tuple(dict.fromkeys(names))})


def _further_names(rule: PolicyRule, models: Mapping[str, ModelConfig]) -> Iterator[str]:
    named = set(rule.models)
    for key, model in models.items():
        identifiers = {it.identifier for it in model.instances}
        if model.identifier is not None:
            identifiers.add(model.identifier)
        if key in named:
            yield from sorted(identifiers)
        # A request to the key may come to any of several instances: one of them being named is
        # enough where a rule is stricter than none, all must be where it allows.
        is_meant = identifiers <= named if rule.decision == "allow" else identifiers & named
        if identifiers and is_meant:
            yield key
