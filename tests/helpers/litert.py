"""Run a LiteRT file without a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def run_litert(content: bytes, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of a converted network.

    Args:
        content: A ``.tflite`` file.
        stacks: float32 (n, y, x, slices) of the file's shape.

    Returns:
        Probabilities, float32 (n, y, x).
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = np.empty(stacks.shape[:3], np.float32)
    for answer, stack in zip(answers, stacks, strict=True):
        interpreter.set_tensor(entry["index"], stack[np.newaxis])
        interpreter.invoke()
        answer[...] = interpreter.get_tensor(end["index"])[0, ..., 0]
    return answers
