"""Convert NumPy arrays from and to tensors of Triton's Python backend, through DLPack.

`Tensor.as_numpy` and `Tensor(name, array)` of Triton 2.51 are built against NumPy 1 and read the
size of an element from the wrong place in NumPy 2: an array arrives as its first value repeated,
and leaves with no bytes at all. Text tensors suffer the same, so text travels as UTF-8 in uint8.
DLPack passes pointer, shape and type. This file can become two plain calls when the oldest
supported server is built with pybind11 2.12 or later, which knows NumPy 2.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

_set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]
_set_destructor.restype = ctypes.c_int


def to_numpy(tensor: Any) -> NDArray[Any]:
    """Return a view of a request's tensor. It must not outlive the request."""
    return np.from_dlpack(tensor)


def to_tensor(name: str, array: NDArray[Any]) -> Any:
    """Make a tensor of an answer. It holds the array."""
    import triton_python_backend_utils as pb_utils

    # DLPack hands out neither views with gaps nor what must not be written.
    capsule = np.require(array, requirements=["C", "W"]).__dlpack__()
    # Triton marks a capsule as used by a name that NumPy does not know, and frees the array
    # itself; NumPy's destructor would find the name and write a traceback to the log.
    _set_destructor(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)
