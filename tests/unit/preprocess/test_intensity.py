import numpy as np
import pytest

from cmbnet.preprocess import PreprocessRecipe
from cmbnet.preprocess.intensity import IntensityMap, fit_intensity, median


def tissue(n: int = 60_000, *, seed: int = 0) -> np.ndarray:
    """White matter at 100 +- 6, a darker tail, a brighter shoulder; shape (n,)."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(100, 6, n), rng.uniform(5, 90, n // 10), rng.normal(140, 8, n // 5)]
    return np.concatenate(parts).astype(np.float32)


def fit(points: np.ndarray, *, darkest: float = 0.0, **settings: object) -> IntensityMap:
    recipe = PreprocessRecipe.from_dict(settings)
    image = points[np.newaxis, np.newaxis]
    return fit_intensity(image, np.ones(image.shape, bool), recipe, darkest=darkest)


def test_peak_is_found_and_lands_at_the_level() -> None:
    fitted = fit(tissue())
    # The shoulder pulls a little: the window of 15 % sees its edge.
    assert fitted.peak == pytest.approx(100, rel=0.02)
    assert fitted.level(fitted.peak) == pytest.approx(0.6)
    assert fitted.zero == 0.0


def test_dark_keeps_its_depth_and_bright_is_clipped() -> None:
    image = np.array([0.0, 40.0, 100.0, 500.0], np.float32)
    IntensityMap(zero=0.0, peak=100.0, top=100 / 0.6).apply_in_place(image)
    np.testing.assert_allclose(image, [0.0, 0.24, 0.6, 1.0], rtol=1e-6)


def test_only_the_brain_counts() -> None:
    inside = tissue()
    points = np.concatenate([inside, np.full(500_000, 300, np.float32)])
    brain = np.arange(points.size) < inside.size
    fitted = fit_intensity(points, brain, PreprocessRecipe(), darkest=0.0)
    assert fitted.peak == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 0.37, 1e3, 1e6])
def test_a_factor_changes_nothing(factor: float) -> None:
    points = tissue()
    scaled = (points * np.float32(factor)).astype(np.float32)
    assert fit(scaled).peak == pytest.approx(factor * fit(points).peak, rel=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16"])
def test_whole_numbers_give_the_same_peak(dtype: str) -> None:
    points = tissue()
    whole = np.clip(points, 0, 250).astype(dtype).astype(np.float32)
    assert fit(whole).peak == pytest.approx(fit(points).peak, rel=0.01)


def test_one_value_is_its_own_peak() -> None:
    assert fit(np.full(100, 37, np.float32)).peak == pytest.approx(37, rel=1e-6)


def test_one_hot_voxel_moves_nothing() -> None:
    points = tissue(400_000)
    before = fit(points)
    for index in (0, 400_001, 470_000):
        hot = points.copy()
        hot[index] *= 100
        assert fit(hot).peak == pytest.approx(before.peak, rel=1e-5)


def test_offset_is_taken_off_and_dark_tissue_is_not() -> None:
    points = tissue() + 1000
    fitted = fit(points, darkest=1001.0)
    assert fitted.zero == 1001.0
    assert fit(tissue(), darkest=20.0).zero == 0.0  # a crop without air: still signal zero


def test_rare_bins_end_the_window_of_the_paper() -> None:
    points = np.concatenate([tissue(), np.full(3, 700, np.float32)])  # 3 of 78003: rare
    # 7.8 points a bin of 0.39 in 12000 of a normal(140, 8): 2.6 standard deviations out.
    assert fit(points, window="histogram").top == pytest.approx(140 + 2.6 * 8, rel=0.02)
    many = np.concatenate([points, np.full(20, 700, np.float32)])  # 23: counts
    assert fit(many, window="histogram").top == pytest.approx(700, rel=0.01)
    kept = fit(points, window="histogram", rare_bin_fraction=0.0)
    assert kept.top == pytest.approx(700, rel=0.01)


def test_all_zero_brain_gives_a_map_that_can_be_applied() -> None:
    fitted = fit(np.zeros(100, np.float32))
    image = np.zeros(4, np.float32)
    fitted.apply_in_place(image)
    assert np.isfinite(image).all()


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 250_001])
@pytest.mark.parametrize("kind", ["even", "few values", "constant", "sorted halves"])
def test_median_is_that_of_numpy(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    points = {
        "even": rng.normal(size=n),
        "few values": rng.integers(0, 3, n),
        "constant": np.full(n, 7.0),
        # Every 25th point is 0: the sample sees nothing else.
        "sorted halves": np.where(np.arange(n) % 25 == 0, 0.0, 5.0 + rng.random(n)),
    }[kind].astype(np.float32)
    assert median(points) == float(np.median(points))
