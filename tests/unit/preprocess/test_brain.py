import numpy as np
import pytest

from cmbnet.preprocess.brain import CoarseBrain, estimate_brain
from tests.unit.preprocess.heads import make_head


def overlap(estimated: CoarseBrain, truth: np.ndarray) -> tuple[float, float]:
    """Dice and the share of the true brain that is inside."""
    mask = estimated.sample(*(np.arange(n, dtype=float) for n in truth.shape))
    both = np.count_nonzero(mask & truth)
    return 2 * both / (mask.sum() + truth.sum()), both / truth.sum()


@pytest.mark.parametrize("scalp", [True, False], ids=["scalp", "stripped"])
@pytest.mark.parametrize("shading", [0.0, 0.5], ids=["even", "shaded"])
@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((40, 96, 80), (4.0, 2.4, 2.4)),
        ((80, 128, 112), (2.0, 1.8, 1.8)),
        ((30, 64, 64), (5.0, 3.4, 3.4)),
    ],
    ids=["4mm", "2mm", "5mm"],
)
def test_brain_of_a_head(
    scalp: bool,
    shading: float,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
) -> None:
    head, truth = make_head(shape=shape, spacing_mm=spacing_mm, scalp=scalp, shading=shading)
    estimated = estimate_brain(head.data, spacing_mm)
    dice, sensitivity = overlap(estimated, truth)
    assert estimated.found
    assert dice > 0.93
    assert sensitivity > 0.98


def test_exact_zeros_outside_and_a_hole_inside() -> None:
    head, truth = make_head(scalp=False, noise=0.0)
    data = head.data.copy()
    data[18:22, 40:50, 36:44] = 0  # a haemorrhage of 16 x 24 x 19 mm
    _, sensitivity = overlap(estimate_brain(data, head.spacing_mm), truth)
    assert sensitivity > 0.98


def test_dark_dots_at_the_surface_stay_inside() -> None:
    head, truth = make_head()
    surface = truth & ~np.roll(truth, 3, axis=1)
    data = head.data.copy()
    dots = np.argwhere(surface)[::37]
    for dot in dots:
        data[tuple(dot)] = 0
    mask = estimate_brain(data, head.spacing_mm).sample(
        *(np.arange(n, dtype=float) for n in data.shape)
    )
    assert mask[tuple(dots.T)].mean() > 0.98


def test_never_empty() -> None:
    rng = np.random.default_rng(0)
    for data in (
        np.pad(np.ones((1, 1, 1), np.float32), 20),
        rng.normal(size=(20, 30, 30)).astype(np.float32),
        -np.abs(rng.normal(size=(20, 30, 30))).astype(np.float32),
    ):
        assert (estimate_brain(data, (2.0, 2.0, 2.0)).inside >= 0.5).any()


def test_nothing_brain_like_is_said() -> None:
    data = np.zeros((30, 60, 60), np.float32)
    data[:, ::20, :] = 100.0  # sheets 2 mm thin
    assert not estimate_brain(data, (2.0, 2.0, 2.0)).found


def test_backward_views_give_the_same_mask() -> None:
    head, _ = make_head()
    flipped = head.data[::-1, ::-1, ::-1].copy()
    again = estimate_brain(flipped[::-1, ::-1, ::-1], head.spacing_mm)
    np.testing.assert_allclose(
        again.inside, estimate_brain(head.data, head.spacing_mm).inside, atol=1e-5
    )
