"""What a request means to one model: what its template sees, what is enforced, how its answer is
read. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmrun.chat.formats.base import Parser
from lmrun.chat.language import Language
from lmrun.chat.messages import Conversation
from lmrun.chat.request import Request
from lmrun.errors import UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import StructuredOutput


@dataclass(frozen=True, slots=True)
class Interpretation:
    """`structured`: what to enforce instead of the prediction's own; None leaves that.
    `reveals_special`: control tokens are text, too. `make_parser`: reads the answer, given the
    prompt's last characters; None when all text is the message."""

    conversation: Conversation
    structured: StructuredOutput | None = None
    reveals_special: bool = False
    make_parser: Callable[[str], Parser] | None = None


def interpret(
    request: Request, language: Language, prediction: PredictionConfig
) -> Interpretation:
    """Raises UnsupportedParameter for what the model's language has no words for."""
    if request.tools and request.tool_choice.mode != "none":
        raise UnsupportedParameter("`tools`: not supported yet.", param="tools")
    return Interpretation(Conversation(request.messages, variables=dict(request.variables)))
