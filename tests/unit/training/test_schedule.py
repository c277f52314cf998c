from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cmbnet.training.fit.checkpoint import Progress
from cmbnet.training.fit.recipe import OptimiserSettings, StopSettings
from cmbnet.training.fit.schedule import after_epoch, learning_rate, stop_reason, used_share

STOP = StopSettings(epochs=10, steps_per_epoch=10)


def rate(settings: OptimiserSettings, step: int, now_s: float = 0.0, **stop: float) -> float:
    conditions = StopSettings(epochs=10, steps_per_epoch=10, **stop)  # type: ignore[arg-type]
    return learning_rate(settings, conditions, Progress(), step=step, now_s=now_s)


COSINE = OptimiserSettings(learning_rate=1.0, schedule="cosine", cosine_final_share=0.1)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (50, 0.55), (100, 0.1), (200, 0.1)])
def test_the_cosine_over_the_epochs(step: int, expected: float) -> None:
    assert rate(COSINE, step) == pytest.approx(expected)


def test_the_cosine_has_ended_when_the_clock_has() -> None:
    assert rate(COSINE, 1, now_s=60.0, max_minutes=1.0) == pytest.approx(0.1)
    assert rate(COSINE, 1, now_s=30.0, max_minutes=1.0) == pytest.approx(0.55)


def test_whichever_budget_is_used_up_more_counts() -> None:
    stop = StopSettings(epochs=10, steps_per_epoch=10, max_minutes=1.0)
    assert used_share(stop, step=80, now_s=30.0) == pytest.approx(0.8)
    assert used_share(stop, step=10, now_s=30.0) == pytest.approx(0.5)


def test_the_warm_up_rises_in_equal_steps() -> None:
    settings = OptimiserSettings(learning_rate=1.0, warmup_steps=4)
    assert [rate(settings, step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_the_plateau_rule_cuts_once_per_stale_stretch() -> None:
    settings = OptimiserSettings(learning_rate=1.0, plateau_epochs=2, plateau_factor=0.1)
    progress = Progress()
    rates = []
    for improved in (True, False, False, False, False, True, False):
        progress = replace(progress, epochs_done=progress.epochs_done + 1)
        progress = after_epoch(settings, progress, improved=improved)
        rates.append(learning_rate(settings, STOP, progress, step=0, now_s=0.0))
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])


def progress_after(epochs: int, **values: float) -> Progress:
    row = {name: value for name, value in values.items() if name in ("loss", "val_dice")}
    return Progress(
        epochs_done=epochs,
        best_epoch=int(values.get("best_epoch", epochs - 1)),
        elapsed_s=values.get("elapsed_s", 0.0),
        history=(row,),
    )


@pytest.mark.parametrize(
    ("stop", "progress", "reason"),
    [
        ({}, progress_after(9), None),
        ({}, progress_after(10), "all 10 epochs are done"),
        ({"max_minutes": 2}, progress_after(1, elapsed_s=119), None),
        ({"max_minutes": 2}, progress_after(1, elapsed_s=120), "budget of 2 minutes"),
        ({"patience_epochs": 3}, progress_after(5, best_epoch=2), None),
        ({"patience_epochs": 3}, progress_after(6, best_epoch=2), "no better .* in 3 epochs"),
        ({"patience_epochs": 0}, progress_after(9, best_epoch=0), None),
        (
            {"target_dice": 0.8, "target_loss": 10.0},
            progress_after(5, val_dice=0.81, loss=0.09),
            "Dice 0.810 and loss 9.0 reach",
        ),
        (
            {"target_dice": 0.8, "target_loss": 10.0},
            progress_after(5, val_dice=0.81, loss=0.11),
            None,
        ),
        (
            {"target_dice": 0.8, "target_loss": 10.0},
            progress_after(5, val_dice=0.79, loss=0.09),
            None,
        ),
    ],
)
def test_when_a_run_ends(stop: dict[str, float], progress: Progress, reason: str | None) -> None:
    conditions = STOP.model_copy(update=stop)
    found = stop_reason(conditions, progress, pixels_per_slice=100)
    if reason is None:
        assert found is None
    else:
        assert found is not None

        assert re.search(reason, found)
