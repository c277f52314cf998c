"""What a bundle holds of a run's network: LiteRT files, the Keras file, and proof of parity."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from cmbnet.bundle import NewArtefact
from cmbnet.deploy.convert import to_litert
from cmbnet.deploy.gate import GateCase, small_lesions
from cmbnet.deploy.litert import DEFAULT_SHAPES, LiteRtPrecision, Shape, run_litert
from cmbnet.deploy.parity import Parity, compare
from cmbnet.io import read_nifti
from cmbnet.lesions import measure_components
from cmbnet.model.config import ModelConfig
from cmbnet.model.files import copy_at_shape, save_model
from cmbnet.model.half_weights import round_to_half
from cmbnet.training.data.cohort import CohortCase, list_cohort
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import Recipe
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.validation import choose_slices

REPRESENTATIVE_STACKS = 64
PARITY_STACKS = 8
KERAS_FILE = "model.keras"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtefactPlan:
    """Which files to make.

    Args:
        int8_shapes: Rows and columns of the int8 LiteRT files, the default on CPUs.
        float32_shapes: Of the float32 LiteRT files.
        with_keras: Whether the Keras file is kept, which other exports are made from.
    """

    int8_shapes: tuple[Shape, ...] = DEFAULT_SHAPES
    float32_shapes: tuple[Shape, ...] = DEFAULT_SHAPES[:1]
    with_keras: bool = True

    @property
    def wanted(self) -> tuple[tuple[LiteRtPrecision, Shape], ...]:
        """Precision and shape of every LiteRT file."""
        return (
            *(("int8", shape) for shape in self.int8_shapes),
            *(("float32", shape) for shape in self.float32_shapes),
        )


def make_artefacts(
    model: keras.Model,
    config: ModelConfig,
    plan: ArtefactPlan,
    stacks: NDArray[np.float32],
    *,
    report: Callable[[str], None],
) -> list[NewArtefact]:
    """Convert a network, whose weights are first rounded to what half precision holds.

    Args:
        model: The best one of a run; changed, so that everything is made of the same weights.
        config: Its configuration.
        plan: What to make.
        stacks: From `representative_stacks`.
        report: Receives a line for each file.
    """
    round_to_half(model)
    artefacts = []
    for precision, shape in plan.wanted:
        artefact, parity = make_artefact(model, config, shape, precision, stacks)
        report(f"{artefact.file}: {len(artefact.content) / 1024:.0f} KiB, {_words(parity)}")
        artefacts.append(artefact)
    if plan.with_keras:
        artefacts.append(_keras_artefact(model, config, stacks.shape[1:3]))
        report(f"{KERAS_FILE}: {len(artefacts[-1].content) / 1024:.0f} KiB")
    return artefacts


def _keras_artefact(model: keras.Model, config: ModelConfig, shape: Shape) -> NewArtefact:
    """The network itself at the shape of the whole frame: every later export starts from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_FILE
        save_model(copy_at_shape(model, config, (*shape, config.input_slices)), config, path)
        content = path.read_bytes()
    return NewArtefact(
        file=KERAS_FILE,
        content=content,
        kind="keras",
        precision="float32",
        shape=(1, *shape, 3),
        tools=tool_versions("keras"),
    )


def representative_stacks(
    cache: Cache, recipe: Recipe, count: int, *, draw: int = 0
) -> NDArray[np.float32]:
    """Whole slices, half of them with a lesion, float32 (n, frame, frame, 3) in [0, 1].

    Args:
        cache: Of the training cohort.
        recipe: Of the run.
        count: How many.
        draw: Another number chooses other slices.
    """
    sampler = Sampler(cache, recipe.sampling, recipe.sampling.crop_px)
    chosen = choose_slices(sampler, count, recipe.seed + draw)
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
    fixed = copy_at_shape(model, config, (*shape, config.input_slices))
    content = to_litert(fixed, precision, fitting)
    probe = fitting[:PARITY_STACKS]
    reference = np.asarray(fixed.predict_on_batch(probe))[..., 0]
    parity = compare(reference, run_litert(content, probe))
    artefact = NewArtefact(
        file=f"{precision}-1x{shape[0]}x{shape[1]}.tflite",
        content=content,
        kind="litert",
        precision=precision,
        shape=(1, *shape, 3),
        tools=tool_versions("tensorflow", "keras", "ai-edge-litert"),
        parity=parity.to_dict(),
    )
    return artefact, parity


def gate_cases(cohort: Path, count: int) -> tuple[GateCase, ...]:
    """Scans of a cohort that hold lesions, at most `count`, for the parity gate."""
    with_lesions = (
        GateCase(
            name=case.name,
            scan=read_nifti(case.image),
            lesions=labels,
            small=small_lesions(
                labels,
                [(c.label, c.max_in_plane_diameter_mm) for c in measure_components(labels, affine)],
            ),
        )
        for case, labels, affine in _labels_of(cohort)
        if labels.any()
    )
    return tuple(islice(with_lesions, count))


def _labels_of(cohort: Path) -> Iterator[tuple[CohortCase, NDArray[np.int32], NDArray[np.float64]]]:
    """Cases with their labels and affine."""
    for case in list_cohort(cohort):
        volume = read_nifti(case.lesions)
        yield case, np.rint(volume.data).astype(np.int32), volume.affine


def tool_versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages; tensorflow may be installed as its cpu wheel."""
    versions = {}
    for package in packages:
        if package == "tensorflow":
            import tensorflow as tf

            versions[package] = str(tf.__version__)
        else:
            versions[package] = version(package)
    return versions


def _words(parity: Parity) -> str:
    """Parity in words."""
    return (
        f"against Keras: largest difference {parity.max_difference:.4f}, "
        f"in lesions {parity.mean_difference_lesion:.4f}, mask Dice {parity.mask_dice:.4f}"
    )
