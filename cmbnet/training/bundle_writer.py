"""From a finished run to a bundle: converted networks, operating points, and their origin."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cmbnet import __version__
from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle, BundleSpec, NewArtefact, OperatingPoint, Training, write_bundle
from cmbnet.deploy.litert import (
    DEFAULT_SHAPES,
    LiteRtPrecision,
    Shape,
    convert_to_litert,
    run_litert,
)
from cmbnet.deploy.parity import Parity, compare
from cmbnet.errors import UnreadableFile
from cmbnet.lesions import LesionRules
from cmbnet.model.config import ModelConfig
from cmbnet.model.files import copy_at_shape, load_model, save_model
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.slices import SliceContext
from cmbnet.training.operating_points import choose_operating_points, validation_maps
from cmbnet.training.reader import Cache
from cmbnet.training.recipe import Recipe, load_recipe
from cmbnet.training.run_files import BEST_MODEL, DESCRIPTION, LOG, RECIPE
from cmbnet.training.sampler import Sampler
from cmbnet.training.validation import choose_slices

REPRESENTATIVE_STACKS = 64
PARITY_STACKS = 8
LICENCE = "Apache-2.0"
PHANTOM_STATEMENT = (
    "Trained on digital phantoms only; no image of a patient was used. Measured on phantoms only."
)
REAL_STATEMENT = "Trained on labelled scans of the data named here."

_UNDECIDED = OperatingPoint(
    name="balanced", pixel_threshold=0.5, lesion_score=0.0, patient_threshold=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What to export, and how.

    Args:
        name: Of the bundle.
        precisions: Of the LiteRT files, one each per shape.
        shapes: Rows and columns of the inputs.
        real_patient_data: Whether the cohorts are scans of patients.
        cohort_name: Of the validation cohort, for the manifest.
    """

    name: str = "cmbnet"
    precisions: tuple[LiteRtPrecision, ...] = ("int8", "float32")
    shapes: tuple[Shape, ...] = DEFAULT_SHAPES
    real_patient_data: bool = False
    cohort_name: str = "validation phantoms"


def export_run(
    run: Path,
    folder: Path,
    *,
    validation: Path,
    cache: Path,
    export: Export | None = None,
    report: Callable[[str], None],
) -> Bundle:
    """Write the bundle of a run.

    Args:
        run: Directory of `cmbnet.training.fit.train`.
        folder: Of the bundle.
        validation: Cohort on whose scans the operating points are chosen.
        cache: Training cache: int8 ranges are measured on its slices.
        export: Settings.
        report: Receives what was done, line by line.

    Raises:
        UnreadableFile: If the run is not finished.
    """
    export = export or Export()
    recipe = load_recipe(run / RECIPE)
    config = recipe.model.config()
    model = load_model(run / BEST_MODEL)
    stacks = representative_stacks(Cache(cache), recipe, REPRESENTATIVE_STACKS)
    artefacts = []
    for precision in export.precisions:
        for shape in export.shapes:
            artefact, parity = make_artefact(model, config, shape, precision, stacks)
            report(f"{artefact.file}: {len(artefact.content) / 1024:.0f} KiB, {_words(parity)}")
            artefacts.append(artefact)
    artefacts.append(keras_artefact(model, config, export.shapes[0]))
    spec = _spec(run, recipe, export)
    bundle = write_bundle(folder, spec=spec, artefacts=artefacts)
    rules, points = _operating_points(bundle, validation, export, report)
    spec = _spec(run, recipe, export, rules=rules, points=points)
    return write_bundle(folder, spec=spec, artefacts=artefacts)


def representative_stacks(cache: Cache, recipe: Recipe, count: int) -> NDArray[np.float32]:
    """Whole slices, half of them with a lesion, float32 (n, frame, frame, 3) in [0, 1]."""
    sampler = Sampler(cache, recipe.sampling, recipe.sampling.crop_px)
    chosen = choose_slices(sampler, count, recipe.seed)
    frame = cache.cases[0].frame_shape
    stacks = np.zeros((len(chosen), *frame[1:], 3), np.float32)
    for stack, (case, z) in zip(stacks, chosen, strict=True):
        _, y, x = cache.cases[case].origin
        part = np.moveaxis(sampler.stack(case, z), 0, -1)
        stack[y : y + part.shape[0], x : x + part.shape[1]] = part / np.float32(255.0)
    return stacks


def centre_crop(stacks: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """The middle of stacks (n, y, x, 3), where the physical frame has the brain."""
    y, x = ((have - want) // 2 for have, want in zip(stacks.shape[1:3], shape, strict=True))
    return np.ascontiguousarray(stacks[:, y : y + shape[0], x : x + shape[1]])


def make_artefact(
    model: keras.Model,
    config: ModelConfig,
    shape: Shape,
    precision: LiteRtPrecision,
    stacks: NDArray[np.float32],
) -> tuple[NewArtefact, Parity]:
    """Convert and compare; the parity stacks are the first ones, which hold lesions."""
    fitting = centre_crop(stacks, shape)
    content = convert_to_litert(model, config, shape, precision=precision, representative=fitting)
    probe = fitting[:PARITY_STACKS]
    fixed = copy_at_shape(model, config, (*shape, config.input_slices))
    reference = np.asarray(fixed.predict_on_batch(probe))[..., 0]
    parity = compare(reference, run_litert(content, probe))
    artefact = NewArtefact(
        file=f"{precision}-1x{shape[0]}x{shape[1]}.tflite",
        content=content,
        kind="litert",
        precision=precision,
        shape=(1, *shape, 3),
        tools={name: _version(name) for name in ("tensorflow", "keras", "ai-edge-litert")},
        parity=parity.to_dict(),
    )
    return artefact, parity


def keras_artefact(model: keras.Model, config: ModelConfig, shape: Shape) -> NewArtefact:
    """The network itself in float32: every later export starts from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save_model(copy_at_shape(model, config, (*shape, config.input_slices)), config, path)
        content = path.read_bytes()
    return NewArtefact(
        file="model.keras",
        content=content,
        kind="keras",
        precision="float32",
        shape=(1, *shape, 3),
        tools={"keras": _version("keras")},
    )


def _operating_points(
    bundle: Bundle, validation: Path, export: Export, report: Callable[[str], None]
) -> tuple[LesionRules, tuple[OperatingPoint, ...]]:
    """Run the bundle, as it will be used, over the validation cohort."""
    backend = open_backend(bundle)
    try:
        maps = validation_maps(validation, bundle, backend, report=report)
    finally:
        backend.close()
    chosen = choose_operating_points(maps, cohort=export.cohort_name)
    for point in chosen.points:
        report(f"{point.name}: {point.model_dump_json(exclude={'name'})}")
    return chosen.rules, chosen.points


def _spec(
    run: Path,
    recipe: Recipe,
    export: Export,
    *,
    rules: LesionRules | None = None,
    points: Sequence[OperatingPoint] = (_UNDECIDED,),
) -> BundleSpec:
    """The manifest without its artefacts."""
    description = _description(run)
    millimetres = recipe.sampling.context_mm
    return BundleSpec(
        name=export.name,
        licence=LICENCE,
        recipe=PreprocessRecipe.from_dict(description["preprocess"]),
        context=SliceContext("adjacent" if millimetres is None else None, millimetres),
        rules=rules or LesionRules(),
        operating_points=tuple(points),
        default_operating_point="balanced",
        training=Training(
            statement=REAL_STATEMENT if export.real_patient_data else PHANTOM_STATEMENT,
            real_patient_data=export.real_patient_data,
            data=tuple(
                _cohort_line(role, description[role]) for role in ("training", "validation")
            ),
            details=_details(run, recipe, description),
        ),
        versions={name: _version(name) for name in ("tensorflow", "keras", "ai-edge-litert")}
        | {"cmbnet": __version__},
    )


def _details(
    run: Path, recipe: Recipe, description: dict[str, Any]
) -> dict[str, str | float | int | bool]:
    """How the network was trained."""
    with (run / LOG).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val_dice")]
    monitor = f"val_{recipe.validation.monitor}"
    best = max(rows, key=lambda row: float(row[monitor]))
    config = recipe.model.config()
    return {
        "recipe": recipe.name,
        "channels": "/".join(str(n) for n in config.channels),
        "seed": recipe.seed,
        "epochs": len(rows),
        "minutes": round(float(rows[-1]["time_s"]) / 60.0, 1),
        "best_epoch": int(best["epoch"]),
        "validation_dice": float(best[monitor]),
        "git_revision": str(description["git_revision"]),
    }


def _description(run: Path) -> dict[str, Any]:
    """What the run says it was made of."""
    try:
        values: dict[str, Any] = json.loads((run / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"a finished run is required in {run}: {error}") from error
    return values


def _cohort_line(role: str, cohort: dict[str, Any]) -> str:
    """A cohort in a sentence."""
    return (
        f"{role}: {cohort['cases']} cases ({cohort['controls']} without lesions), "
        f"{cohort['lesions']} lesions, {cohort['slices']} slices"
    )


def _words(parity: Parity) -> str:
    """Parity in words."""
    return (
        f"against Keras: largest difference {parity.max_difference:.4f}, "
        f"in lesions {parity.mean_difference_lesion:.4f}, mask Dice {parity.mask_dice:.4f}"
    )


def _version(package: str) -> str:
    """Version of an installed package; tensorflow may be installed as its cpu wheel."""
    if package == "tensorflow":
        import tensorflow as tf

        return str(tf.__version__)
    return version(package)
