"""The learning rate over a run."""

from __future__ import annotations

import math
from dataclasses import replace

from cmbnet.training.fit.checkpoint import Progress
from cmbnet.training.fit.recipe import OptimiserSettings, StopSettings


def learning_rate(
    settings: OptimiserSettings, stop: StopSettings, progress: Progress, *, step: int, now_s: float
) -> float:
    """Compute the rate of the next step.

    The cosine is stretched over the used part of the epochs or of the minutes, whichever is larger.
    So a run that the clock stops has reached its lowest rate. `now_s` is the time over all
    restarts.
    """
    rate = settings.learning_rate * progress.learning_rate_factor
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "plateau":
        return rate
    used = used_share(stop, step=step, now_s=now_s)
    final = settings.cosine_final_share
    return rate * (final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * used)))


def used_share(stop: StopSettings, *, step: int, now_s: float) -> float:
    """Return the used part of the budget, 0 to 1."""
    used = step / (stop.epochs * stop.steps_per_epoch)
    if stop.max_minutes is not None:
        used = max(used, now_s / (60.0 * stop.max_minutes))
    return min(max(used, 0.0), 1.0)


def after_epoch(settings: OptimiserSettings, progress: Progress, *, improved: bool) -> Progress:
    """Apply the plateau rule, which cuts the rate after several epochs without a gain."""
    epoch = progress.epochs_done - 1
    if improved:
        return replace(progress, plateau_epoch=epoch)
    stale = epoch - progress.plateau_epoch
    if settings.schedule == "plateau" and stale >= settings.plateau_epochs:
        factor = progress.learning_rate_factor * settings.plateau_factor
        return replace(progress, plateau_epoch=epoch, learning_rate_factor=factor)
    return progress


def stop_reason(stop: StopSettings, progress: Progress, *, pixels_per_slice: int) -> str | None:
    """Say why a run ends after this epoch, or return None if it continues.

    It needs the number of pixels in a slice, because the target loss is a sum over a slice.
    """
    last = progress.history[-1] if progress.history else {}
    if progress.epochs_done >= stop.epochs:
        return f"all {stop.epochs} epochs are done"
    if stop.max_minutes is not None and progress.elapsed_s >= 60.0 * stop.max_minutes:
        return f"the budget of {stop.max_minutes:g} minutes is used up"
    stale = progress.epochs_done - 1 - progress.best_epoch
    if 0 < stop.patience_epochs <= stale:
        return f"no better validation Dice in {stale} epochs"
    if stop.target_dice is not None and stop.target_loss is not None:
        summed = last.get("loss", math.inf) * pixels_per_slice
        if last.get("val_dice", 0.0) >= stop.target_dice and summed < stop.target_loss:
            return f"validation Dice {last['val_dice']:.3f} and loss {summed:.1f} reach the targets"
    return None
