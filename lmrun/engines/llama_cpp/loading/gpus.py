"""Which GPUs the installed llama.cpp sees. It decides nothing about them."""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import _ggml
from llama_cpp import llama_cpp as native

# ggml-backend.h: ggml_backend_dev_type.
_GPU, _INTEGRATED_GPU = 1, 2


def read_free_bytes() -> list[int]:
    """The free memory of each GPU that llama.cpp would offload to, in its order."""
    if not native.llama_supports_gpu_offload():
        return []
    library: Any = _ggml.libggml
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    devices = [library.ggml_backend_dev_get(n) for n in range(library.ggml_backend_dev_count())]
    kinds = {device: library.ggml_backend_dev_type(device) for device in devices}
    # Integrated ones are used only where there is no other, and then one of them.
    chosen = [device for device in devices if kinds[device] == _GPU]
    chosen = chosen or [device for device in devices if kinds[device] == _INTEGRATED_GPU][:1]
    return [_read_free(library, device) for device in chosen]


def _read_free(library: Any, device: int) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_size_t),
    ]
    library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    return free.value
