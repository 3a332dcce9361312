"""Prompts with images: their tokens, their numbers below 0, and what the encoder is spared."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL.Image import Transpose

from lmrun.chat.messages import MAX_IMAGES
from lmrun.engines.base import ImageSpan
from lmrun.engines.llama_cpp.vision import vision as vision_module
from lmrun.engines.llama_cpp.vision.vision import Vision
from lmrun.errors import EngineError, InvalidParameter
from tests.engines.llama_cpp.vision.bare import TinyEye
from tests.support.pictures import encode, noise
from tests.support.tiny_vision import PATCHES

PICTURE = encode(noise())
OTHER = encode(noise(seed=1))

Prepared = tuple[tuple[int, ...], tuple[ImageSpan, ...]]


def prepare(
    eye: TinyEye, vision: Vision, *pieces: str | bytes, add_special: bool = False
) -> Prepared:
    return vision.prepare(pieces, eye.vocabulary.tokenize, add_special=add_special)


def numbers(prepared: Prepared) -> list[Sequence[int]]:
    """The numbers of each span."""
    prompt, spans = prepared
    return [prompt[span.begin : span.begin + span.length] for span in spans]


def test_text_around_an_image_has_its_usual_tokens(eye: TinyEye) -> None:
    with eye.open() as vision:
        prompt, (span,) = prepare(eye, vision, "Look at <|im_start|>", PICTURE, " please")
    before = eye.vocabulary.tokenize("Look at <|im_start|>", add_special=False, parse_special=True)
    after = eye.vocabulary.tokenize(" please", add_special=False, parse_special=True)
    assert list(prompt[: span.begin]) == before
    assert list(prompt[span.begin + span.length :]) == after
    assert (span.length, span.handle.positions, span.handle.tokens) == (PATCHES,) * 3


def test_every_number_of_an_image_is_a_negative_int32(eye: TinyEye) -> None:
    with eye.open() as vision:
        (found,) = numbers(prepare(eye, vision, PICTURE, "x"))
    assert all(-(2**31) <= number < 0 for number in found)
    assert len(set(found)) == PATCHES


def test_equal_pixels_have_equal_numbers_whatever_their_file(eye: TinyEye) -> None:
    webp = encode(noise(), "WEBP", lossless=True)
    with eye.open() as vision:
        first, second = numbers(prepare(eye, vision, PICTURE, " and ", webp, "."))
    assert first == second


@pytest.mark.parametrize(
    "other",
    [OTHER, encode(noise().transpose(Transpose.ROTATE_180)), encode(noise(30, 40))],
    ids=["pixels", "flip", "size"],
)
def test_other_pictures_share_no_number(eye: TinyEye, other: bytes) -> None:
    with eye.open() as vision:
        first, second = numbers(prepare(eye, vision, PICTURE, " and ", other, "."))
    assert not set(first) & set(second)


def test_another_projector_gives_other_numbers(eye: TinyEye) -> None:
    with eye.open(seed=0) as vision:
        first = numbers(prepare(eye, vision, PICTURE, "."))
    with eye.open(seed=1) as vision:
        assert numbers(prepare(eye, vision, PICTURE, ".")) != first


def test_an_image_may_be_several_spans_with_text_between_them(eye: TinyEye) -> None:
    with eye.open("idefics3") as vision:
        prompt, spans = prepare(eye, vision, "a", PICTURE, "b")
    inside = {at for span in spans for at in range(span.begin, span.begin + span.length)}
    assert len(spans) > 4 and all(span.length == 4 for span in spans)
    assert all((token < 0) == (at in inside) for at, token in enumerate(prompt))
    assert b"<row_1_col_1>" in eye.vocabulary.detokenize([t for t in prompt if t >= 0])


@pytest.mark.parametrize("pieces", [("a", PICTURE), (PICTURE, "a"), (PICTURE,), ("a",), ()])
def test_special_tokens_stand_at_the_beginning_once(
    eye: TinyEye, pieces: tuple[str | bytes, ...]
) -> None:
    asked: list[bool] = []

    def tokenize(text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        asked.append(add_special)
        return [7] * add_special + [8] * len(text)

    with eye.open() as vision:
        prompt, _ = vision.prepare(pieces, tokenize, add_special=True)
    assert (prompt[0], prompt.count(7), asked.count(True)) == (7, 1, 1)


def test_an_image_seen_before_is_not_encoded_again(eye: TinyEye) -> None:
    with eye.open() as vision:
        prepare(eye, vision, PICTURE, PICTURE, OTHER)
        prepare(eye, vision, OTHER, PICTURE)
        assert vision.encoded == 2


def test_the_cache_forgets_what_was_not_used_for_longest(
    eye: TinyEye, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = 2 * PATCHES * 64 * 4
    monkeypatch.setattr(vision_module, "MAX_CACHED_BYTES", two)
    third = encode(noise(seed=2))
    with eye.open() as vision:
        for picture in (PICTURE, OTHER, PICTURE, third, PICTURE):
            prepare(eye, vision, picture)
        assert vision.encoded == 3
        prepare(eye, vision, OTHER)
        assert vision.encoded == 4


def test_a_bad_image_is_named_by_its_number(eye: TinyEye) -> None:
    with eye.open() as vision, pytest.raises(InvalidParameter) as refused:
        prepare(eye, vision, "a", PICTURE, "b", PICTURE[:100], PICTURE)
    assert refused.value.param == "images[1]"


def test_more_images_than_there_may_be_are_refused_undecoded(eye: TinyEye) -> None:
    with eye.open() as vision:
        with pytest.raises(InvalidParameter, match=f"at most {MAX_IMAGES}"):
            prepare(eye, vision, *[PICTURE] * (MAX_IMAGES + 1))
        assert vision.encoded == 0


def test_an_image_that_must_be_in_one_decode_and_is_not_is_refused(eye: TinyEye) -> None:
    with eye.open("gemma3", batch_tokens=3) as vision, pytest.raises(InvalidParameter) as refused:
        prepare(eye, vision, PICTURE, ".")
    assert "eval_batch_size to at least 4" in str(refused.value)


def test_after_closing_nothing_is_prepared(eye: TinyEye) -> None:
    with eye.open() as vision:
        vision.close()
        with pytest.raises(EngineError):
            prepare(eye, vision, PICTURE)
