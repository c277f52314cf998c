"""Time ``model.predict`` of Keras, with which the bench compares because most people run it."""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np

from cmbnet.backends.base import Shape
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.errors import CmbnetError

REPEATS = 2


def predict_ms_per_slice(bundle: Bundle, shape: Shape, slices: int) -> float:
    """Measure the milliseconds per slice of ``model.predict`` with Keras' own batches.

    `shape` is rows and columns. `slices` go into one call, as in a scan.
    """
    from cmbnet.deploy.source import at_shape, load_source

    model = at_shape(load_source(bundle), shape)
    stacks = np.random.default_rng(0).random((slices, *shape, 3), np.float32)
    model.predict(stacks, verbose=0)  # traces
    best_s = math.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        model.predict(stacks, verbose=0)
        best_s = min(best_s, time.perf_counter() - start)
    return 1e3 * best_s / slices


def main() -> None:
    """Run as a process of the bench: from bundle, rows, columns and slices, print a number."""
    folder, *numbers = sys.argv[1:]
    rows, columns, slices = map(int, numbers)
    try:
        ms = predict_ms_per_slice(load_bundle(folder), (rows, columns), slices)
    except CmbnetError as error:
        sys.exit(f"{error}")
    sys.stdout.write(json.dumps(ms) + "\n")


if __name__ == "__main__":
    main()
