"""Answers that must satisfy a JSON schema with long keys, beside free ones of the same length."""

from __future__ import annotations

from benchmarks.contenders.base import LLAMA_SERVER, LMRUN, Request, Setup
from benchmarks.prompts import make_text
from benchmarks.results import Bar, Values
from benchmarks.scenarios.base import Arena, Measure, Scenario, last_s, per_contender

MOST_TOKENS = 200
CONTEXT_LENGTH = 1024
BOTH = (LMRUN, LLAMA_SERVER)

_CHOICES = {
    "preferred_contact_channel": ["email", "telephone", "letter"],
    "current_subscription_status": ["active", "cancelled", "suspended"],
    "billing_address_country_code": ["DE", "FR", "IT", "ES"],
    "customer_support_priority_level": ["low", "normal", "high"],
}
_FLAGS = (
    "has_accepted_terms_of_service",
    "is_eligible_for_loyalty_discount",
    "wants_monthly_newsletter",
    "requires_manual_invoice_review",
)
_PROPERTIES = {
    **{name: {"enum": values} for name, values in _CHOICES.items()},
    **{name: {"type": "boolean"} for name in _FLAGS},
}
SCHEMA = {
    "type": "object",
    "properties": _PROPERTIES,
    "required": list(_PROPERTIES),
    "additionalProperties": False,
}
"""Values without freedom of length: every contender writes the same kind of answer."""

RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "customer", "schema": SCHEMA, "strict": True},
}


def make_requests(seed: str, streams: int) -> list[Request]:
    """Chats, each about another customer."""
    return [
        Request(
            f"Notes:{make_text(12, f'{seed} {number}')}. Describe this customer as JSON.",
            MOST_TOKENS,
            fields={"response_format": RESPONSE_FORMAT},
            is_chat=True,
            may_end=True,
        )
        for number in range(streams)
    ]


def measure(streams: int) -> Measure:
    async def measure_streams(arena: Arena, repeat: int) -> Values:
        values: dict[str, float] = {}
        for contender in arena.in_turn(repeat):
            requests = make_requests(f"bound {repeat}", streams)
            answers = await contender.generate(*requests)
            lengths = [answer.completion_tokens for answer in answers]
            values[f"{contender.name}.wall"] = last_s(answers)
            values[f"{contender.name}.rate"] = sum(lengths) / last_s(answers)
            free = [
                Request(request.prompt, length, is_chat=True)
                for request, length in zip(
                    make_requests(f"free {repeat}", streams), lengths, strict=True
                )
            ]
            values[f"{contender.name}.free"] = sum(lengths) / last_s(
                await contender.generate(*free)
            )
        return values

    return measure_streams


def make_scenario(streams: int) -> Scenario:
    return Scenario(
        name=f"json_schema_{streams}",
        title=f"a JSON schema with long keys, {streams} stream{'s' * (streams > 1)}",
        setup=Setup(CONTEXT_LENGTH, parallel=streams),
        contenders=BOTH,
        figures=(
            *per_contender(BOTH, "rate", "constrained", "tok/s"),
            *per_contender(BOTH, "free", "unconstrained, as many tokens", "tok/s"),
            *per_contender(BOTH, "wall", "constrained, whole answers", "s"),
        ),
        bars=(
            Bar("lmrun.rate", "lmrun.free", at_least=1.0),
            Bar("llama_server.rate", "llama_server.free"),
            Bar("lmrun.wall", "llama_server.wall", at_most=0.7),
        ),
        measure=measure(streams),
    )


JSON_SCHEMA_1, JSON_SCHEMA_8 = make_scenario(1), make_scenario(8)
