"""`train`: make a model from a recipe and two caches. An interrupted run can continue."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UsageError
from cmbnet.model.files import save_model
from cmbnet.model.unet import build_unet
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.callbacks import AverageWeights, Clock, FiniteLoss, RateAndBudget
from cmbnet.training.fit.checkpoint import CHECKPOINT, Progress, State, load_state, save_state
from cmbnet.training.fit.distribute import Workers, open_workers
from cmbnet.training.fit.losses import make_loss
from cmbnet.training.fit.mining import Miner
from cmbnet.training.fit.pipeline import Pipeline
from cmbnet.training.fit.recipe import Recipe, parse_recipe
from cmbnet.training.fit.run_files import BEST_MODEL, LAST_MODEL, write_log, write_run_description
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.schedule import after_epoch, stop_reason
from cmbnet.training.fit.start import weights_of_bundle, with_start
from cmbnet.training.fit.storage import alone_in, room_in
from cmbnet.training.fit.tensorboard import example_picture, write_examples, write_scalars
from cmbnet.training.fit.validation import SlicePredictor, choose_slices, validate
from cmbnet.training.fit.whole_cases import choose_cases, judge_cases

logger = logging.getLogger(__name__)

EXAMPLES = 8
"""Number of validation slices that are drawn for TensorBoard."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a run."""

    best_model: Path  # File of the weights with the best validation Dice
    best_dice: float  # The best validation Dice
    reason: str  # Reason why training ended
    progress: Progress  # Progress and log


def train(
    recipe: Recipe,
    training: Cache,
    validation: Cache,
    run: Path,
    *,
    report: Callable[[str], None] = logger.info,
    show_progress: bool = False,
) -> TrainingResult:
    """Train, or continue an interrupted run.

    Other cases than those of the training choose the best epoch. The folder is made if it is
    missing.

    Raises:
        UsageError: If the directory holds a run of another recipe, another process trains in it,
            the caches were prepared differently, or the recipe does not fit the bundle that it
            starts from.
        TrainingDiverged: If the loss is no longer finite.
    """
    if training.preprocess != validation.preprocess:
        raise UsageError(
            "training and validation must be prepared alike, got "
            f"{training.preprocess} and {validation.preprocess}"
        )
    recipe = with_start(recipe)
    # Collective operations must be set up before anything else runs.
    workers = open_workers(recipe.distribute, recipe.sampling.batch_size)
    if recipe.distribute == "multi_worker" and recipe.stop.max_minutes is not None:
        raise UsageError(
            "stop.max_minutes would end the workers at different steps: with distribute: "
            "multi_worker, set stop.epochs"
        )
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(recipe.seed)
    if recipe.deterministic:
        _make_deterministic()
    with alone_in(run) if workers.chief else nullcontext():
        trainer = _Trainer(recipe, training, validation, run, workers)
        trainer.resume()
        if workers.chief:
            with room_in(run):
                write_run_description(run, recipe, training, validation, workers.device)
        return trainer.run_to_the_end(report, show_progress)


def _make_deterministic() -> None:
    """Ask TensorFlow for kernels that add in a fixed order."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


class _Trainer:
    """The parts of a run and the loop over its epochs."""

    def __init__(
        self, recipe: Recipe, training: Cache, validation: Cache, run: Path, workers: Workers
    ) -> None:
        self.recipe, self.run, self.workers = recipe, run, workers
        self.config = recipe.model.config()
        shape = (None, None, self.config.input_slices)
        with workers.scope():
            self.model = compiled_model(recipe, workers)
        self.start: list[NDArray[np.float32]] | None = None
        if recipe.start_from is not None:
            self.start = weights_of_bundle(recipe.start_from, training.preprocess)
            self.model.set_weights(self.start)
        self.judged = build_unet(self.config, shape)
        self.pipeline = Pipeline(training, recipe)
        self.miner = Miner(self.pipeline.sampler, recipe.mining, recipe.seed)
        self.judge = Sampler(validation, recipe.sampling, recipe.sampling.crop_px)
        self.slices = choose_slices(self.judge, recipe.validation.slices, recipe.seed)
        self.cases = choose_cases(self.judge, recipe.validation.whole_cases, recipe.seed)
        self.average = AverageWeights(recipe.optimiser.ema_momentum)
        self.progress = Progress()

    def resume(self) -> None:
        """Continue from the state in the run's folder, if there is one."""
        state = load_state(self.run)
        if state is None:
            return
        before = parse_recipe(state.recipe, source=str(self.run / CHECKPOINT))
        changed = sorted(
            key for key in Recipe.model_fields if getattr(self.recipe, key) != getattr(before, key)
        )
        if changed:
            raise UsageError(
                f"{self.run} holds a run of another recipe (sections {', '.join(changed)} "
                "differ): choose another output directory"
            )
        self.progress = state.progress
        self.model.set_weights(state.arrays["weights"])
        variables = self.model.optimizer.variables
        for variable, value in zip(variables, state.arrays["optimiser"], strict=True):
            variable.assign(value)
        self.average.average = state.arrays["average"] or None
        self.miner.restore(state.arrays["mined"][0])

    def run_to_the_end(self, report: Callable[[str], None], show_progress: bool) -> TrainingResult:
        """Train epoch after epoch until a stop condition holds."""
        clock = Clock(self.progress.elapsed_s)
        stop, batch = self.recipe.stop, self.recipe.sampling.batch_size
        report(
            f"device: {self.workers.device}; {stop.epochs} epochs of {stop.steps_per_epoch} steps, "
            f"{batch} crops each"
        )
        if self.start is not None and not self.progress.history:
            row: dict[str, float] = {"epoch": 0} | self._validated(-1)
            self.progress = replace(self.progress, history=(row | {"time_s": clock.now_s},))
            report(f"before training: {_values(row)}")
        while (reason := self._stop_reason()) is None:
            row = self._epoch(clock, show_progress)
            report(
                f"epoch {self.progress.epochs_done} of {stop.epochs}: {_values(row)}; "
                f"best Dice {self.progress.best_dice:.4f}; {clock.now_s / 60:.1f} minutes so far"
            )
        report(f"ended: {reason}; best validation Dice {self.progress.best_dice:.4f}")
        return TrainingResult(self.run / BEST_MODEL, self.progress.best_dice, reason, self.progress)

    def _stop_reason(self) -> str | None:
        pixels = self.recipe.sampling.crop_px**2
        return stop_reason(self.recipe.stop, self.progress, pixels_per_slice=pixels)

    def _epoch(self, clock: Clock, show_progress: bool) -> dict[str, float]:
        """Train one epoch, judge it, mine, and write everything."""
        epoch = self.progress.epochs_done
        start_s = clock.now_s
        rate = RateAndBudget(self.recipe, self.progress, clock, self.pipeline.end)
        batches = self.recipe.stop.steps_per_epoch
        with warnings.catch_warnings():
            # The budget may end an epoch early; that is no fault of the input.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            history = self.model.fit(
                self.pipeline.epoch(epoch, batches),
                initial_epoch=epoch,
                epochs=epoch + 1,
                steps_per_epoch=batches,
                callbacks=[rate, FiniteLoss(epoch), self.average],
                shuffle=False,
                verbose=1 if show_progress else 0,
            )
        steps = rate.steps - self.progress.steps_done
        crops = steps * self.recipe.sampling.batch_size
        row: dict[str, float] = {
            "epoch": epoch + 1,
            "loss": float(history.history["loss"][0]),
            "learning_rate": rate.rate,
            "crops_per_s": crops / max(clock.now_s - start_s, 1e-9),
        }
        self.progress = replace(self.progress, epochs_done=epoch + 1, steps_done=rate.steps)
        row |= self._judge(epoch)
        self.progress = replace(
            self.progress,
            elapsed_s=clock.now_s,
            history=(*self.progress.history, row | {"time_s": clock.now_s}),
        )
        self._write()
        return row

    def _judge(self, epoch: int) -> dict[str, float]:
        """Validate, keep the best model, and mine."""
        row: dict[str, float] = {}
        if (epoch + 1) % self.recipe.validation.every_epochs == 0:
            row |= self._validated(epoch)
        self.judged.set_weights(self._weights_to_keep())
        predict = SlicePredictor(self.judged)
        if self.cases and (epoch + 1) % self.recipe.validation.whole_every_epochs == 0:
            threshold = self.recipe.validation.threshold
            row |= judge_cases(predict, self.judge, self.cases, threshold)
        if self.miner.due(epoch):
            row["mined"] = float(self.miner.mine(predict, epoch))
        return row

    def _validated(self, epoch: int) -> dict[str, float]:
        """Validate, and keep the best model. Epoch -1 is the network from which a run starts."""
        self.judged.set_weights(self._weights_to_keep())
        predict = SlicePredictor(self.judged)
        scores = validate(predict, self.judge, self.slices, self.recipe)
        dice = getattr(scores, self.recipe.validation.monitor)
        improved = dice > self.progress.best_dice
        if improved:
            self.progress = replace(self.progress, best_dice=dice, best_epoch=epoch)
            self._keep_best(predict, epoch)
        self.progress = after_epoch(self.recipe.optimiser, self.progress, improved=improved)
        return scores.to_dict()

    def _weights_to_keep(self) -> list[NDArray[Any]]:
        """Return the averaged weights, with the recipe's share of the first weights."""
        trained, share = self.average.current(self.model), np.float32(self.recipe.start_share)
        if self.start is None or share == 0.0:
            return trained
        return [share * a + (1 - share) * b for a, b in zip(self.start, trained, strict=True)]

    def _keep_best(self, predict: SlicePredictor, epoch: int) -> None:
        """Save the judged model, and show its output."""
        if not self.workers.chief:
            return
        threshold = self.recipe.validation.threshold
        with room_in(self.run):
            save_model(self.judged, self.config, self.run / BEST_MODEL)
            shown = self.slices[:EXAMPLES]
            picture = example_picture(predict, self.judge, shown, threshold)
            write_examples(self.run, picture, epoch + 1)

    def _write(self) -> None:
        """Write checkpoint, log, curves and TensorBoard, in one of several workers."""
        if self.workers.chief:
            with room_in(self.run):
                self._write_files()

    def _write_files(self) -> None:
        arrays: dict[str, list[NDArray[Any]]] = {
            "weights": self.model.get_weights(),
            "optimiser": [np.asarray(v) for v in self.model.optimizer.variables],
            "average": self.average.average or [],
            "mined": [self.miner.rows],
        }
        save_state(self.run, State(self.progress, arrays, self.recipe.model_dump(mode="json")))
        save_model(self.judged, self.config, self.run / LAST_MODEL)
        write_log(self.run, self.progress.history)
        write_scalars(self.run, self.progress.history[-1])


def compiled_model(recipe: Recipe, workers: Workers | None = None) -> keras.Model:
    """Build and compile the network of a recipe, for crops of any size and parts of a batch."""
    workers = workers or Workers()
    whole = make_loss(recipe.loss)

    def loss(target: Any, probability: Any) -> Any:
        # Gradients of the parts are added up; Keras divides only losses that it averages itself.
        return whole(target, probability) / workers.replicas

    config = recipe.model.config()
    shape = (None, None, config.input_slices)
    model = workers.shared(build_unet(config, shape, precision=recipe.precision, seed=recipe.seed))
    model.compile(
        optimizer=keras.optimizers.Adam(
            recipe.optimiser.learning_rate, global_clipnorm=recipe.optimiser.clip_norm
        ),
        loss=loss,
        # XLA's convolutions on CPUs are slower than oneDNN's (measured: 53 against 33 ms).
        jit_compile="auto" if _has_accelerator() else False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _has_accelerator() -> bool:
    """Return whether Keras computes on a device other than a CPU."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _values(row: dict[str, float]) -> str:
    """Write the values of a row of the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
