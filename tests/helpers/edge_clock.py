"""A node in a process of its own whose wall clock is set by a file: seconds to add to the true one.

The worker process, which is started with the same arguments, has the same clock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_true_time = time.time


def _time() -> float:
    return _true_time() + float(Path(sys.argv[3]).read_text())


if __name__ in ("__main__", "__mp_main__"):  # not where pytest only collects this file
    time.time = _time  # before any module of the node takes it as a default

if __name__ == "__main__":
    from tests.helpers.edge_peers import main

    main(Path(sys.argv[1]), sys.argv[2])
