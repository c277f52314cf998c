"""The state of a run after an epoch, from which it continues as if it had never stopped."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UnreadableFile
from cmbnet.io import write_bytes_atomically

CHECKPOINT = "state.npz"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run in numbers."""

    epochs_done: int = 0  # Number of finished epochs
    steps_done: int = 0  # Number of finished optimiser steps
    elapsed_s: float = 0.0  # Time spent so far, over all restarts
    best_dice: float = -1.0  # Best validation Dice so far. -1 before the first.
    best_epoch: int = -1  # Epoch (from 0) with the best Dice. -1 before the first.
    plateau_epoch: int = -1  # Epoch of the last gain or of the last cut of the learning rate
    learning_rate_factor: float = 1.0  # Share of the initial rate that the plateau rule has left
    history: tuple[dict[str, float], ...] = field(default=())  # One row of the log for each epoch


@dataclass(frozen=True, slots=True)
class State:
    """Everything that determines the rest of a run."""

    progress: Progress  # Progress in numbers
    # Named lists of arrays: weights, optimiser variables, averages, mined centres
    arrays: dict[str, list[NDArray[Any]]]
    # The recipe as plain values. A run of another recipe must not continue from here.
    recipe: dict[str, Any]


def save_state(run: Path, state: State) -> None:
    """Write the state. A crash leaves the old state or the new one."""
    about = {
        "progress": asdict(state.progress),
        "recipe": state.recipe,
        "counts": {name: len(arrays) for name, arrays in state.arrays.items()},
    }
    flat: dict[str, Any] = {
        f"{name}/{n:04d}": array
        for name, arrays in state.arrays.items()
        for n, array in enumerate(arrays)
    }
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **flat)
    write_bytes_atomically(run / CHECKPOINT, buffer.getvalue())


def load_state(run: Path) -> State | None:
    """Read the state of a run, or return None if it has none yet.

    Raises:
        UnreadableFile: If the file is damaged.
    """
    path = run / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            arrays = {
                name: [stored[f"{name}/{n:04d}"] for n in range(count)]
                for name, count in about["counts"].items()
            }
        history = tuple(about["progress"].pop("history"))
        progress = Progress(**about["progress"], history=history)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UnreadableFile(f"{path} is damaged ({error}); delete it to start anew") from error
    return State(progress, arrays, about["recipe"])
