"""What a model file says of itself, for lists of models. It loads nothing."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lmrun.catalog.gguf import find_parts
from lmrun.catalog.gguf_header import GgufHeader, ModelType, describe
from lmrun.catalog.gguf_reader import Tensor, open_window, parse_container

_BITS = re.compile(r"(?:I?Q|TQ|MXFP|NVFP|BF|F)(\d+)")
_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """`format`: `gguf`, None for a script. `size`: bytes of all its parts. `parameters`: like
    `135M`. `experts`: per token, 0 for a dense model. `context_length`: the most it was trained
    for. What only a GGUF header tells is None for a script.
    """

    type: ModelType
    format: str | None
    size: int
    architecture: str | None = None
    name: str | None = None
    quantization: str | None = None
    parameters: str | None = None
    context_length: int | None = None
    experts: int = 0
    chat_template: str | None = None

    @property
    def bits_per_weight(self) -> int | None:
        """What the quantisation's name says: 4 for `Q4_K_M`."""
        found = _BITS.match(self.quantization or "")
        return int(found[1]) if found else None


def describe_file(path: Path, size: int) -> ModelFile:
    """The model whose first file is `path`, of `size` bytes. Raises ModelInvalid for a bad GGUF."""
    if path.suffix.lower() != ".gguf":
        return ModelFile("llm", None, size)
    with open_window(path) as window:
        raw = parse_container(window)
        header = describe(raw)
    others = find_parts(path, header)[1:]
    return ModelFile(
        type=header.type,
        format="gguf",
        size=size + sum(_size(part) for part in others),
        architecture=header.architecture,
        name=header.name,
        quantization=header.quantization,
        # The tensors of a split model's other parts are not in this file.
        parameters=_name_parameters(header, () if others else raw.tensors),
        context_length=header.context_length,
        experts=header.expert_used_count,
        chat_template=header.chat_template,
    )


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    # A missing part is said by whoever loads the model.
    return 0


def _name_parameters(header: GgufHeader, tensors: tuple[Tensor, ...]) -> str | None:
    """As the file has it, else counted."""
    if header.size_label:
        return header.size_label
    count = sum(math.prod(tensor.dimensions) for tensor in tensors)
    for unit, letter in _UNITS:
        if count >= unit:
            return (
                f"{count / unit:.2g}{letter}" if count < 10 * unit else f"{count // unit}{letter}"
            )
    return None
