"""A query and a document as one input of a reranker. It knows no context.

Where the model's file brings a template for it, that is followed. Else it is what cross-encoders
are trained on: `[CLS] query [SEP] document [SEP]` for BERT, `<s> query </s></s> document </s>` for
RoBERTa (https://huggingface.co/docs/transformers/model_doc/roberta).
"""

from __future__ import annotations

import re

from llama_cpp import llama_cpp as native

from lmrun.engines.llama_cpp.vocabulary import Vocabulary

_TEMPLATE_NAME = b"rerank"
_PLACES = re.compile(r"\{(query|document)\}")


class PairTokenizer:
    """Makes the tokens of pairs, from any thread. `model`: llama.cpp's pointer."""

    def __init__(self, model: int, vocabulary: Vocabulary) -> None:
        template: bytes | None = native.llama_model_chat_template(model, _TEMPLATE_NAME)
        vocab = native.llama_model_get_vocab(model)
        self._vocabulary = vocabulary
        self._template = template.decode(errors="replace") if template else None
        self._first: int | None = None
        if native.llama_vocab_get_add_bos(vocab):
            self._first = native.llama_vocab_bos(vocab)
        # A vocabulary whose texts end with EOS may have a separator besides; BERT's end with it.
        self._between: list[int] = []
        if native.llama_vocab_get_add_eos(vocab) and native.llama_vocab_get_add_sep(vocab):
            self._between = [native.llama_vocab_sep(vocab)]

    def tokenize(self, query: str, document: str) -> list[int]:
        """Token ids of the pair. Raises InvalidParameter for a lone surrogate."""
        if self._template is not None:
            text = fill(self._template, query, document)
            return self._vocabulary.tokenize(text, add_special=False, parse_special=True)
        head, tail = (
            self._vocabulary.tokenize(text, add_special=True, parse_special=False)
            for text in (query, document)
        )
        if tail and tail[0] == self._first:
            tail = tail[1:]
        return [*head, *self._between, *tail]


def fill(template: str, query: str, document: str) -> str:
    """`template` with both texts in their places; a text that looks like a place stays as it is."""
    texts = {"query": query, "document": document}
    return _PLACES.sub(lambda place: texts[place[1]], template)
