"""What a sequence must fulfil before it is queued. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmrun.catalog.memory import STRICT_ROWS
from lmrun.engines.base import SequenceSpec
from lmrun.engines.llama_cpp.loading.adapters import Adapter
from lmrun.engines.llama_cpp.scheduling.sequence import Namespace, count_extra_cells
from lmrun.engines.llama_cpp.vocabulary import Vocabulary
from lmrun.errors import ContextOverflow, InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig


def require_fitting(spec: SequenceSpec, context_length: int) -> None:
    """Raises InvalidParameter for an empty prompt, ContextOverflow for a too long one."""
    if not spec.prompt:
        raise InvalidParameter("prompt: it holds no token.", param="prompt")
    if spec.prediction.context_overflow_policy != "stopAtLimit":
        return
    if len(spec.prompt) >= context_length:
        raise ContextOverflow(
            f"The prompt has {len(spec.prompt)} tokens and leaves no room for an answer in a "
            f"context of {context_length}.",
            param="prompt",
            hint="Shorten it, or raise the model's context_length.",
        )


def require_cells(spec: SequenceSpec, cells: int) -> None:
    """Raises ContextOverflow for images that leave no room for an answer in so many KV cells."""
    extra = count_extra_cells(spec.images)
    if extra and len(spec.prompt) + extra >= cells:
        raise ContextOverflow(
            f"The prompt with its images fills {len(spec.prompt) + extra} cells of the KV cache, "
            f"which leaves no room for an answer in {cells}.",
            param="prompt",
            hint="Send fewer or smaller images, or raise the model's context_length.",
        )


def require_known_tokens(spec: SequenceSpec, vocabulary: Vocabulary) -> None:
    """Raises InvalidParameter for token ids that the vocabulary does not have."""
    vocabulary.require_known(text_tokens(spec), "prompt")
    vocabulary.require_known(list(spec.prediction.logit_bias), "logit_bias")
    vocabulary.require_known(spec.prediction.stop_token_ids, "stop_token_ids")


def require_compatible(spec: SequenceSpec) -> None:
    """Raises UnsupportedParameter for settings that exclude each other."""
    prediction = spec.prediction
    if spec.images and prediction.context_overflow_policy != "stopAtLimit":
        raise UnsupportedParameter(
            f"context_overflow_policy: {prediction.context_overflow_policy} cannot drop parts of "
            "a prompt with images.",
            param="context_overflow_policy",
            hint="Use stopAtLimit.",
        )
    last = spec.images[-1] if spec.images else None
    if last is not None and last.begin + last.length >= len(spec.prompt):
        raise InvalidParameter(
            "prompt: it ends with an image; some text must follow.", param="prompt"
        )
    if spec.images and prediction.echo and prediction.logprobs is not None:
        raise UnsupportedParameter(
            "echo: a prompt with images has no log probabilities.", param="echo"
        )
    if prediction.deterministic == "strict":
        _refuse_speculation(prediction)
        _refuse_wide_images(spec)


def choose_adapters(prediction: PredictionConfig, loaded: Mapping[str, Adapter]) -> Namespace:
    """The adapters of a sequence, with their scales. Raises InvalidParameter for unknown ones."""
    scales: Mapping[str, float] = {name: adapter.scale for name, adapter in loaded.items()}
    if prediction.adapters is not None:
        unknown = [name for name in prediction.adapters if name not in loaded]
        if unknown:
            raise InvalidParameter(
                f"adapters: this model has no adapter {unknown[0][:80]!r}.",
                param="adapters",
                hint=f"It was loaded with: {', '.join(loaded) or 'none'}.",
            )
        scales = prediction.adapters
    return tuple(sorted((name, scale) for name, scale in scales.items() if scale))


def _refuse_speculation(prediction: PredictionConfig) -> None:
    for name in ("prompt_lookup", "draft_model"):
        if getattr(prediction, name):
            raise UnsupportedParameter(
                f"{name}: strict determinism excludes speculation.",
                param=name,
                hint="Leave one of the two out.",
            )


def _refuse_wide_images(spec: SequenceSpec) -> None:
    for image in spec.images:
        if not image.handle.causal and image.handle.tokens > STRICT_ROWS:
            raise UnsupportedParameter(
                f"deterministic: this model's images take {image.handle.tokens} tokens at once, "
                f"strict determinism computes {STRICT_ROWS} at a time.",
                param="deterministic",
                hint="Leave it out for prompts with images.",
            )


def text_tokens(spec: SequenceSpec) -> Sequence[int]:
    """The prompt without what stands for its images: what samplers may look at."""
    if not spec.images:
        return spec.prompt
    tokens = list(spec.prompt)
    for image in reversed(spec.images):
        del tokens[image.begin : image.begin + image.length]
    return tokens
