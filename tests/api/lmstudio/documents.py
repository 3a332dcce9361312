"""Documents of LM Studio's documentation, as it shows them, shortened where it repeats itself.

Sources: "REST API v0" of its documentation; lmstudio-ai/docs, `1_developer/2_rest/`.
"""

from __future__ import annotations

from typing import Any

MODEL_V0: dict[str, Any] = {
    "id": "meta-llama-3.1-8b-instruct",
    "object": "model",
    "type": "llm",
    "publisher": "lmstudio-community",
    "arch": "llama",
    "compatibility_type": "gguf",
    "quantization": "Q4_K_M",
    "state": "not-loaded",
    "max_context_length": 131072,
}

_STATISTICS_V0: dict[str, Any] = {
    "stats": {
        "tokens_per_second": 51.43709529007664,
        "time_to_first_token": 0.111,
        "generation_time": 0.954,
        "stop_reason": "eosFound",
    },
    "model_info": {
        "arch": "granite",
        "quant": "Q4_K_M",
        "format": "gguf",
        "context_length": 4096,
    },
    "runtime": {
        "name": "llama.cpp-mac-arm64-apple-metal-advsimd",
        "version": "1.3.0",
        "supported_formats": ["gguf"],
    },
}

CHAT_REQUEST_V0: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Always answer in rhymes."},
        {"role": "user", "content": "Introduce yourself."},
    ],
    "temperature": 0.7,
    "max_tokens": -1,
    "stream": False,
}

CHAT_V0: dict[str, Any] = {
    "id": "chatcmpl-i3gkjwthhw96whukek9tz",
    "object": "chat.completion",
    "created": 1731990317,
    "model": "granite-3.0-2b-instruct",
    "choices": [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Greetings, …"},
        }
    ],
    "usage": {"prompt_tokens": 24, "completion_tokens": 53, "total_tokens": 77},
    **_STATISTICS_V0,
}

COMPLETION_REQUEST_V0: dict[str, Any] = {
    "prompt": "the meaning of life is",
    "temperature": 0.7,
    "max_tokens": 10,
    "stream": False,
    "stop": "\n",
}

COMPLETION_V0: dict[str, Any] = {
    "id": "cmpl-p9rtxv6fky2v9k8jrd8cc",
    "object": "text_completion",
    "created": 1731990488,
    "model": "granite-3.0-2b-instruct",
    "choices": [
        {
            "index": 0,
            "text": " to find your purpose, and once you have",
            "logprobs": None,
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14},
    **_STATISTICS_V0,
}

EMBEDDING_REQUEST_V0: dict[str, Any] = {"input": "Some text to embed"}

EMBEDDING_V0: dict[str, Any] = {
    "object": "list",
    "data": [{"object": "embedding", "embedding": [-0.016731496900320053], "index": 0}],
    "model": "text-embedding-nomic-embed-text-v1.5@q4_k_m",
    "usage": {"prompt_tokens": 0, "total_tokens": 0},
}

MODEL_V1: dict[str, Any] = {
    "type": "llm",
    "publisher": "google",
    "key": "google/gemma-4-26b-a4b",
    "display_name": "Gemma 4 26B A4B",
    "architecture": "gemma4",
    "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
    "size_bytes": 17990911801,
    "params_string": "26B-A4B",
    "loaded_instances": [
        {
            "id": "google/gemma-4-26b-a4b",
            "config": {
                "context_length": 4096,
                "eval_batch_size": 512,
                "parallel": 4,
                "flash_attention": True,
            },
        }
    ],
    "max_context_length": 262144,
    "format": "gguf",
    "capabilities": {"vision": True, "trained_for_tool_use": True},
    "description": None,
}

EMBEDDING_MODEL_V1: dict[str, Any] = {
    "type": "embedding",
    "publisher": "gaianet",
    "key": "text-embedding-nomic-embed-text-v1.5-embedding",
    "display_name": "Nomic Embed Text v1.5",
    "quantization": {"name": "F16", "bits_per_weight": 16},
    "size_bytes": 274290560,
    "params_string": "23M",
    "loaded_instances": [],
    "max_context_length": 2048,
    "format": "gguf",
}

LOAD_V1: dict[str, Any] = {
    "type": "llm",
    "instance_id": "openai/gpt-oss-20b",
    "load_time_seconds": 9.099,
    "status": "loaded",
    "load_config": {
        "context_length": 16384,
        "eval_batch_size": 512,
        "parallel": 4,
        "flash_attention": True,
    },
}

CHAT_V1: dict[str, Any] = {
    "model_instance_id": "qwen/qwen3-vl-4b",
    "output": [{"type": "message", "content": "This image is …"}],
    "stats": {
        "input_tokens": 17,
        "total_output_tokens": 50,
        "reasoning_output_tokens": 0,
        "tokens_per_second": 51.03762685242662,
        "time_to_first_token_seconds": 0.814,
    },
    "response_id": "resp_0182bd7c479d7451f9a35471f9c26b34de87a7255856b9a4",
}


def require_shape(answer: Any, document: Any, path: str = "") -> None:
    """Fails where `answer` lacks a field of `document`, or has another kind of value there."""
    if isinstance(document, dict):
        assert isinstance(answer, dict), path
        assert document.keys() <= answer.keys(), f"{path}: {document.keys() - answer.keys()}"
        for name, value in document.items():
            require_shape(answer[name], value, f"{path}.{name}")
    elif isinstance(document, list):
        assert isinstance(answer, list), path
        assert bool(answer) or not document, path
        for item in answer:
            if document:
                require_shape(item, document[0], f"{path}[]")
    else:
        kind = (int, float) if type(document) is float else type(document)
        assert isinstance(answer, kind), f"{path}: {answer!r}"
