from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import BundleError
from cmbnet.preprocess import PreprocessRecipe, brain_network, check_quality, prepare
from cmbnet.preprocess.brain import CoarseBrain, estimate_brain
from cmbnet.preprocess.brain_network import (
    grouped,
    learned_brain,
    mask_of,
    network_cells,
    ungrouped,
)
from cmbnet.volume import Volume
from tests.unit.preprocess.heads import affine_for, make_head

RECIPE = PreprocessRecipe(size=128, pixel_mm=1.8, brain="learned-1")


def overlap(estimated: CoarseBrain, truth: NDArray[np.bool_]) -> float:
    """Dice on the grid of the truth."""
    mask = estimated.sample(*(np.arange(n, dtype=float) for n in truth.shape))
    return float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))


@pytest.mark.parametrize("shape", [(20, 33, 48), (3, 5, 7), (41, 112, 96)])
def test_groups_and_back(shape: tuple[int, int, int]) -> None:
    cells = np.random.default_rng(0).random(shape, np.float32)
    groups = grouped(cells)
    assert groups.shape[0] >= 4
    assert groups.shape[1] % 8 == groups.shape[2] % 8 == 0
    np.testing.assert_array_equal(ungrouped(groups, shape), cells)


@pytest.mark.parametrize("z_mm", [1.0, 2.0, 6.0])
def test_cells_lie_where_the_voxels_do(z_mm: float) -> None:
    """A ramp in mm is the same ramp in cells, whether voxels are averaged or interpolated."""
    shape = (round(60 / z_mm), 60, 40)
    ramp = np.broadcast_to(((np.arange(shape[0]) + 0.5) * z_mm)[:, None, None], shape)
    cells = network_cells(ramp.astype(np.float32), (z_mm, 1.0, 1.0))
    assert cells.shape == (20, 20, 14)
    inner = cells[2:-2, 0, 0]
    np.testing.assert_allclose(np.diff(inner), np.diff(inner).mean(), rtol=0.15)


@pytest.mark.parametrize("scalp", [True, False], ids=["scalp", "stripped"])
@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((40, 96, 80), (4.0, 2.4, 2.4)), ((80, 128, 112), (2.0, 1.8, 1.8))],
    ids=["4mm", "2mm"],
)
def test_brain_of_a_head(
    scalp: bool, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    head, truth = make_head(shape=shape, spacing_mm=spacing_mm, scalp=scalp)
    estimated = learned_brain(head.data, spacing_mm)
    assert estimated.found
    assert overlap(estimated, truth) > 0.9


def test_any_unit_and_any_order_of_storage_give_the_same_mask() -> None:
    head, _ = make_head()
    first = learned_brain(head.data, head.spacing_mm).inside
    np.testing.assert_array_equal(learned_brain(head.data, head.spacing_mm).inside, first)
    scaled = learned_brain(head.data * np.float32(256), head.spacing_mm).inside
    np.testing.assert_array_equal(scaled, first)
    flipped = head.data[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    np.testing.assert_allclose(learned_brain(flipped, head.spacing_mm).inside, first, atol=1e-4)


def test_bytes_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    head, _ = make_head()
    several = learned_brain(head.data, head.spacing_mm).inside
    monkeypatch.setattr(brain_network, "MOST_THREADS", 1)
    np.testing.assert_array_equal(learned_brain(head.data, head.spacing_mm).inside, several)


def test_the_mask_is_one_piece_without_holes() -> None:
    share = np.zeros((20, 30, 30), np.float32)
    share[4:14, 5:25, 5:25] = 0.9
    share[8:10, 12:15, 12:15] = 0.1  # a hole
    share[17:19, 2:6, 2:6] = 0.9  # a second piece
    brain = mask_of(share, share, (1.0, 1.0, 1.0))
    mask = brain.inside >= 0.5
    assert mask[9, 13, 13]
    assert not mask[17:].any()
    assert brain.largest_share == pytest.approx(1 - 32 / (10 * 20 * 20 - 18 + 32))


def test_what_is_no_head_is_refused() -> None:
    rng = np.random.default_rng(0)
    for data in (
        np.pad(np.ones((1, 1, 1), np.float32), 40),
        rng.normal(size=(60, 90, 90)).astype(np.float32),
        np.hypot(*rng.normal(size=(2, 60, 90, 90))).astype(np.float32),
    ):
        volume = Volume(data, affine_for((2.0, 2.0, 2.0), data.shape), "no head")
        assert not check_quality(volume, prepare(volume, RECIPE)).analysable


def test_no_signal_is_no_brain_and_never_empty() -> None:
    estimated = learned_brain(np.zeros((30, 60, 60), np.float32), (2.0, 2.0, 2.0))
    assert not estimated.found
    assert (estimated.inside >= 0.5).any()


def test_the_recipe_chooses_the_mask() -> None:
    head, _ = make_head(shape=(80, 128, 112), spacing_mm=(2.0, 1.8, 1.8))
    learned = prepare(head, RECIPE)
    classical = prepare(head, PreprocessRecipe(size=128, pixel_mm=1.8))
    assert classical.brain_certainty == 1.0
    assert 0 < learned.brain_certainty < 1.0
    assert learned.brain.sum() < classical.brain.sum()
    assert check_quality(head, learned).analysable


def test_a_mask_in_pieces_is_refused() -> None:
    """Two heads in one field of view: which of them is meant is not guessed."""
    head, _ = make_head(shape=(80, 128, 112), spacing_mm=(2.0, 1.8, 1.8))
    data = np.concatenate([head.data, head.data], axis=2)
    two = Volume(data, affine_for(head.spacing_mm, (80, 128, 224)), "two heads")
    report = check_quality(two, prepare(two, RECIPE))
    assert not report.analysable
    assert [f.code for f in report.findings if f.severity == "refuse"] == ["brain_in_pieces"]


def test_a_missing_network_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head, _ = make_head()
    monkeypatch.setattr(brain_network, "NETWORK_FILE", tmp_path / "none.tflite")
    brain_network._network.cache_clear()
    with pytest.raises(BundleError, match="the network of the brain mask is missing"):
        learned_brain(head.data, head.spacing_mm)
    (tmp_path / "none.tflite").write_bytes(b"no network")
    with pytest.raises(BundleError, match="is no LiteRT model that runs here"):
        learned_brain(head.data, head.spacing_mm)
    brain_network._network.cache_clear()


def test_a_sinus_as_bright_as_brain_lies_outside() -> None:
    """A tube 8 mm wide along the midline, between brain and bone."""
    head, truth = make_head(shape=(80, 128, 112), spacing_mm=(2.0, 1.8, 1.8))
    z, y, x = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in head.shape], indexing="ij")
    z, y, x = 2.0 * z, 1.8 * y, 1.8 * x
    radius = np.sqrt((z / 66) ** 2 + (y / 88) ** 2)
    sinus = (np.abs(radius - 1) < 0.06) & (np.abs(x) < 4) & (z > 0) & ~truth
    data = np.where(sinus, np.float32(1000), head.data)
    grid = [np.arange(n, dtype=float) for n in head.shape]
    learned, classical = (
        estimate(data, head.spacing_mm).sample(*grid)
        for estimate in (learned_brain, estimate_brain)
    )
    assert learned[sinus].mean() < 0.5 * classical[sinus].mean()
