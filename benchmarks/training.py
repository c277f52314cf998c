"""How fast recipes train here: crops a second, what the input costs, and the peak of memory.

    python benchmarks/training.py CACHE [RECIPE ...] [--crop-px 128]

CACHE is one of ``cmbnet prepare`` or ``cmbnet train``. Each recipe runs in a process of its own:
the same steps are trained on its pipeline and on one batch that stays in memory, in turns, so that
a busy machine slows both. The input's share is what the pipeline adds to the time of a step; the
first step of a turn, which waits for the pipeline to start, is not timed (half a second of a core
an epoch). The processor's time is that of all threads; it depends little on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
STEPS, ROUNDS = 16, 3
INPUT_BAR = 0.05
COLUMNS = (
    "recipe", "preset", "crop px", "batch", "crops/s", "crops/s, fixed batch", "input share",
    "CPU ms a crop", "CPU ms a crop, fixed batch", "ms a crop, pipeline alone", "peak GB",
)  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time one recipe in this process."""
    import tensorflow as tf

    from cmbnet.training.data.reader import Cache
    from cmbnet.training.fit.loop import compiled_model
    from cmbnet.training.fit.pipeline import Pipeline
    from cmbnet.training.fit.recipe import load_recipe

    recipe, steps, rounds = load_recipe(options.recipes[0]), options.steps, options.rounds
    if options.crop_px:
        sampling = recipe.sampling.model_copy(update={"crop_px": options.crop_px})
        recipe = recipe.model_copy(update={"sampling": sampling})
    pipeline = Pipeline(Cache(options.cache), recipe)
    model = compiled_model(recipe)
    size = recipe.sampling.batch_size
    batch = next(iter(pipeline.epoch(0, 1)))
    fixed = tf.data.Dataset.from_tensors(batch).repeat(steps + 1)

    def seconds(data: Any) -> tuple[float, float]:
        clock = _clock()
        model.fit(
            data, steps_per_epoch=steps + 1, epochs=1, shuffle=False, verbose=0, callbacks=[clock]
        )
        (start, worked), (end, done) = clock.marks[0], clock.marks[-1]
        return end - start, done - worked

    for warm in (fixed, pipeline.epoch(rounds, steps + 1)):
        seconds(warm)  # their shapes differ, so each traces a graph
    turns = [
        (*seconds(pipeline.epoch(number, steps + 1)), *seconds(fixed)) for number in range(rounds)
    ]
    piped, piped_cpu, still, still_cpu = zip(*turns, strict=True)
    start = time.perf_counter()
    drawn = sum(len(stacks) for stacks, _ in pipeline.epoch(rounds + 1, steps))
    alone_ms = 1000 * (time.perf_counter() - start) / drawn
    shares = [1 - b / a for a, b in zip(piped, still, strict=True)]
    return {
        "recipe": recipe.name,
        "preset": recipe.model.preset,
        "crop px": recipe.sampling.crop_px,
        "batch": size,
        "crops/s": round(size * steps / statistics.median(piped), 1),
        "crops/s, fixed batch": round(size * steps / statistics.median(still), 1),
        "input share": f"{statistics.median(shares):+.1%}",
        "CPU ms a crop": round(1000 * statistics.median(piped_cpu) / (size * steps), 2),
        "CPU ms a crop, fixed batch": round(
            1000 * statistics.median(still_cpu) / (size * steps), 2
        ),
        "ms a crop, pipeline alone": round(alone_ms, 2),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _clock() -> Any:
    """A callback with a list `marks`: wall and processor time at the end of each step."""
    import keras

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        marks: list[tuple[float, float]]

        def on_train_begin(self, logs: Any = None) -> None:
            self.marks = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.marks.append((time.perf_counter(), time.process_time()))

    return Clock()


def main() -> None:
    """Measure every recipe and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("recipes", type=Path, nargs="*", default=[RECIPES / "cpu.yaml"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--crop-px", type=int, default=0, help="side of the crops; the recipe's")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(f"{options.steps} steps a round, median of {options.rounds} rounds")
    print(f"bar: input share at most {INPUT_BAR:.0%}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for recipe in options.recipes:
        row = in_own_process(recipe, options)
        print(f"| {' | '.join(str(row[name]) for name in COLUMNS)} |", flush=True)


def in_own_process(recipe: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A peak of memory is that of a process."""
    command = [sys.executable, __file__, str(options.cache), str(recipe), "--one"]
    command += ["--steps", str(options.steps), "--rounds", str(options.rounds)]
    command += ["--crop-px", str(options.crop_px)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


if __name__ == "__main__":
    main()
