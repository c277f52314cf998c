from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cmbnet.errors import UnreadableFile, UsageError
from cmbnet.model.files import load_model
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.callbacks import (
    EMA_EVERY_STEPS,
    AverageWeights,
    FiniteLoss,
    RateAndBudget,
    TrainingDiverged,
)
from cmbnet.training.fit.checkpoint import CHECKPOINT, Progress, State, load_state, save_state
from cmbnet.training.fit.loop import TrainingResult, train
from cmbnet.training.fit.recipe import Recipe, parse_recipe
from cmbnet.training.fit.run_files import curves_png, write_log
from cmbnet.training.fit.storage import DiskFull, alone_in, room_in

VALUES: dict[str, Any] = {
    "name": "test",
    "deterministic": False,
    "model": {"preset": "small", "channels": [8, 8, 8, 8], "lesion_prior": 0.02},
    "sampling": {"crop_px": 32, "batch_size": 8, "shift_px": 10, "mined": 0.3},
    "loss": {"pixel_weight": 50.0, "overlap": "dice"},
    "optimiser": {"learning_rate": 0.01, "schedule": "cosine", "ema_momentum": 0.8},
    "stop": {"epochs": 3, "steps_per_epoch": 12, "patience_epochs": 0},
    "validation": {"slices": 4, "whole_cases": 2, "whole_every_epochs": 2},
    "augment": {"paste_probability": 0.3},
    "mining": {"every_epochs": 1, "slices": 3, "probability": 0.02},
}


def recipe(**changes: dict[str, Any]) -> Recipe:
    values = {
        key: value | changes.get(key, {}) if isinstance(value, dict) else value
        for key, value in VALUES.items()
    }
    return parse_recipe(values, source="test")


@pytest.fixture(scope="module")
def finished(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(recipe(), cache, cache, tmp_path_factory.mktemp("run") / "r")


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("time_s", "crops_per_s")} for row in rows]


def test_a_run_leaves_its_files(finished: TrainingResult) -> None:
    run = finished.best_model.parent
    names = {path.name for path in run.iterdir()}
    assert names == {
        "best.keras", "last.keras", "state.npz", "log.csv", "curves.png", "recipe.yaml", "run.json",
        "run.lock", "tensorboard",
    }  # fmt: skip
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "Research use only" in (run / "recipe.yaml").read_text()
    assert finished.reason == "all 3 epochs are done"
    assert len(log_of(run)) == 3


def test_tensorboard_shows_the_log_and_examples(finished: TrainingResult) -> None:
    from tensorflow.compat.v1.train import summary_iterator

    shown: dict[tuple[str, int], Any] = {}
    for file in (finished.best_model.parent / "tensorboard").iterdir():
        for event in summary_iterator(str(file)):
            for value in event.summary.value:
                shown[value.tag, event.step] = value.tensor
    for row in finished.progress.history:
        loss = np.frombuffer(shown["loss", int(row["epoch"])].tensor_content, np.float32)
        assert loss[0] == pytest.approx(row["loss"], rel=1e-6)
    pictures = [step for tag, step in shown if tag.startswith("truth green")]
    assert finished.progress.best_epoch + 1 in pictures


def test_whole_cases_are_judged_every_few_epochs(finished: TrainingResult) -> None:
    rows = finished.progress.history
    assert ["case_lesion_recall" in row for row in rows] == [False, True, False]
    assert 0.0 <= rows[1]["case_dice"] <= 1.0


def test_a_full_disk_is_explained_and_the_run_goes_on(
    finished: TrainingResult, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second write of the log meets a full disk."""
    written: list[int] = []

    def fills_up(run: Path, history: Any) -> None:
        written.append(len(history))
        if len(written) == 2:
            (run / ".last.tmp.keras").write_bytes(b"half")
            raise OSError("file write failed: No space left on device")
        write_log(run, history)

    run = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr("cmbnet.training.fit.loop.write_log", fills_up)
        with pytest.raises(DiskFull, match=r"no space is left for .*same command"):
            train(recipe(), cache, cache, run)
    assert not list(run.glob(".*"))
    train(recipe(), cache, cache, run)
    for one, two in zip(log_of(finished.best_model.parent), log_of(run), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-3)


def test_two_processes_do_not_share_a_run(cache: Cache, tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(UsageError, match="another process trains in"):
        train(recipe(), cache, cache, tmp_path)
    with alone_in(tmp_path):
        pass  # free again


def test_other_faults_of_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), room_in(tmp_path):
        raise PermissionError("no")


def test_it_learns(finished: TrainingResult) -> None:
    losses = [row["loss"] for row in finished.progress.history]
    assert losses[-1] < 0.75 * losses[0]


def test_a_killed_run_goes_on_to_the_same_curve(
    finished: TrainingResult, cache_path: Path, cache: Cache, tmp_path: Path
) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cmbnet.training.fit.loop import train\n"
        "from cmbnet.training.data.reader import Cache\n"
        "from cmbnet.training.fit.recipe import load_recipe\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "def report(line):\n"
        "    if line.startswith('epoch 2'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(load_recipe(Path(sys.argv[2])), cache, cache, Path(sys.argv[3]), report=report)\n"
    )
    settings = finished.best_model.parent / "recipe.yaml"
    run = tmp_path / "r"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(cache_path), str(settings), str(run)],
        capture_output=True,
        timeout=900,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(log_of(run)) == 2
    resumed = train(recipe(), cache, cache, run)
    whole, parts = log_of(finished.best_model.parent), log_of(run)
    for one, two in zip(whole, parts, strict=True):
        # A column that an epoch says nothing about is empty, as what whole cases leave undefined.
        assert {k for k, v in one.items() if v} == {k for k, v in two.items() if v}
        assert {k: float(v) for k, v in one.items() if v} == pytest.approx(
            {k: float(v) for k, v in two.items() if v}, rel=1e-3, abs=1e-5
        )
    assert resumed.progress.steps_done == 36


def test_a_finished_run_is_not_trained_again(finished: TrainingResult, cache: Cache) -> None:
    run = finished.best_model.parent
    before = (run / "best.keras").read_bytes()
    again = train(recipe(), cache, cache, run)
    assert again.progress == finished.progress
    assert (run / "best.keras").read_bytes() == before


def test_another_recipe_does_not_go_on(finished: TrainingResult, cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"another recipe \(sections loss, stop differ\)"):
        train(
            recipe(loss={"pixel_weight": 1.0}, stop={"epochs": 9}),
            cache,
            cache,
            finished.best_model.parent,
        )


def test_the_best_model_is_the_one_that_was_validated(
    finished: TrainingResult, cache: Cache
) -> None:
    from cmbnet.training.fit.sampler import Sampler
    from cmbnet.training.fit.validation import SlicePredictor, choose_slices, validate

    settings = recipe()
    sampler = Sampler(cache, settings.sampling, 32)
    predict = SlicePredictor(load_model(finished.best_model))
    scores = validate(predict, sampler, choose_slices(sampler, 4, settings.seed), settings)
    assert scores.dice == pytest.approx(finished.best_dice, abs=1e-4)


class Stub:
    """As much of a Keras model as a callback touches."""

    iterations = 0

    def __init__(self, weights: float = 1.0) -> None:
        self.weights = np.array([weights], np.float32)
        self.optimizer = self
        self.learning_rate = self
        self.rates: list[float] = []

    def assign(self, rate: float) -> None:
        self.rates.append(rate)

    def get_weights(self) -> list[np.ndarray]:
        return [self.weights]


def test_the_clock_ends_an_epoch_and_the_rate_with_it() -> None:
    clock = types.SimpleNamespace(now_s=0.0)
    limited = recipe(stop={"max_minutes": 0.5, "steps_per_epoch": 100})
    ended: list[int] = []
    callback = RateAndBudget(
        limited,
        Progress(steps_done=7),
        clock,  # type: ignore[arg-type]
        lambda: ended.append(callback.steps),
    )
    model = Stub()
    callback.set_model(model)
    for batch in range(15):
        assert not ended
        callback.on_train_batch_begin(batch)
        clock.now_s += 2.0
        callback.on_train_batch_end(batch)
    assert ended == [22]
    assert model.rates[0] == pytest.approx(0.01, rel=1e-2)
    assert model.rates[-1] < 0.01 * 0.05  # annealed by then


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(loss: float) -> None:
    guard = FiniteLoss(epoch=4)
    guard.on_train_batch_end(0, {"loss": 0.1})
    with pytest.raises(TrainingDiverged, match=r"in epoch 5, step 3; lower optimiser"):
        guard.on_train_batch_end(2, {"loss": loss})


def test_differently_prepared_caches_do_not_go_together(cache: Cache, tmp_path: Path) -> None:
    class Other:
        preprocess = cache.preprocess | {"pixel_mm": 0.9}

    with pytest.raises(UsageError, match="must be prepared alike"):
        train(recipe(), cache, Other(), tmp_path / "r")  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "momentum"), [(100_000, 0.9), (2, 3 / 12)])
def test_the_average_moves_toward_the_weights(step: int, momentum: float) -> None:
    average = AverageWeights(0.9)
    model = Stub(1.0)
    model.iterations = step
    average.set_model(model)
    for batch in range(EMA_EVERY_STEPS):
        average.on_train_batch_end(batch)
    model.weights = np.array([2.0], np.float32)
    for batch in range(EMA_EVERY_STEPS):
        average.on_train_batch_end(batch)
    kept = momentum**EMA_EVERY_STEPS
    assert average.current(model)[0] == pytest.approx(kept * 1.0 + (1 - kept) * 2.0)


def test_a_state_survives_the_file(tmp_path: Path) -> None:
    progress = Progress(
        epochs_done=2, steps_done=7, elapsed_s=1.5, best_dice=0.25, history=({"loss": 0.5},)
    )
    arrays = {"weights": [np.arange(3.0), np.ones((2, 2), np.int16)], "average": []}
    save_state(tmp_path, State(progress, arrays, {"name": "x"}))
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert (loaded.progress, loaded.recipe) == (progress, {"name": "x"})
    assert loaded.arrays["average"] == []
    for one, two in zip(loaded.arrays["weights"], arrays["weights"], strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UnreadableFile, match="delete it to start anew"):
        load_state(tmp_path)


def test_losses_of_different_kinds_have_axes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is a sum of two losses, the other a cross-entropy of a pixel, a thousand times less."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    names = ("epoch", "loss", "val_loss", "val_dice", "val_best_dice", "val_sensitivity",
             "val_false_blobs", "learning_rate")  # fmt: skip
    curves_png([dict.fromkeys(names, 0.5)])
    shown = [[line.get_label() for line in axis.lines] for axis in drawn[0].axes]
    assert shown[:2] == [["loss"], ["val_loss"]]
