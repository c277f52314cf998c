"""The pipeline finds the dots that were put there, on any grid, and refuses what is no brain."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends import Backend, BackendInfo
from cmbnet.bundle import Bundle, write_bundle
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import write_nifti
from cmbnet.predict import Prediction, Request, predict_file, predict_volume
from cmbnet.regions import Locator, Place
from cmbnet.slices import SliceContext, make_stacks
from cmbnet.training.choose.candidates import OutlineRule, find_candidates
from cmbnet.training.data.labelled import read_labelled
from cmbnet.volume import Volume, grid_difference
from tests.helpers.tiny_bundle import spec
from tests.helpers.tiny_scan import DOTS, SHAPE, small_scan, tiny_scan


class Recorder:
    """A backend that keeps the stacks and answers with a constant."""

    info = BackendInfo("recorder", "float32", "none 0", 1, "test")
    shapes: tuple[tuple[int, int], ...] = ((96, 96),)

    def __init__(self, answer: float = 0.0) -> None:
        self.stacks: list[NDArray[np.float32]] = []
        self.answer = answer

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        self.stacks.append(stacks.copy())
        return np.full(stacks.shape[:3], self.answer, np.float32)

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture(scope="module")
def prediction(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(small_scan(), tiny_bundle, tiny_backend)


def dot_centres() -> list[tuple[float, float, float]]:
    return sorted(small_scan().world_mm((z + 0.5, y + 1.5, x + 1.5)) for z, y, x in DOTS)


def centres(prediction: Prediction) -> list[tuple[float, ...]]:
    return sorted(lesion.centre_ras_mm for lesion in prediction.found.lesions)


def test_every_dot_is_found_where_it_is(prediction: Prediction) -> None:
    found = centres(prediction)
    assert len(found) == len(DOTS)
    for there, here in zip(dot_centres(), found, strict=True):
        assert here == pytest.approx(there, abs=1.0)
    for z, y, x in DOTS:
        assert prediction.mask[z : z + 2, y + 1 : y + 3, x + 1 : x + 3].all()
    assert prediction.positive
    assert prediction.score == max(lesion.score for lesion in prediction.found.lesions)


def test_everything_lies_on_the_grid_of_the_scan(prediction: Prediction) -> None:
    assert grid_difference(prediction.probability, prediction.volume) is None
    assert prediction.found.labels.shape == SHAPE
    assert prediction.probability.data.dtype == np.float32
    assert prediction.probability.data.min() >= 0
    assert prediction.probability.data.max() <= 1


def test_what_happened_is_recorded(prediction: Prediction, tiny_bundle: Bundle) -> None:
    assert list(prediction.timings_s) == [
        "prepare",
        "quality",
        "network",
        "native_grid",
        "lesions",
        "regions",
    ]
    assert min(prediction.timings_s.values()) >= 0
    assert prediction.operating_point.name == "balanced"
    assert (prediction.rules.pixel_threshold, prediction.rules.min_score) == (0.5, 0.5)
    assert prediction.bundle.sha256 == tiny_bundle.sha256
    assert prediction.crop == (96, 96)
    assert 0 < prediction.slices <= 24
    assert not prediction.forced


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (1, 1, 0)), ((2, 0, 1), (0, 1, 0)), ((1, 2, 0), (1, 0, 1))],
)
def test_the_order_of_axes_in_the_file_changes_nothing(
    prediction: Prediction,
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    order: tuple[int, int, int],
    flips: tuple[int, int, int],
) -> None:
    scan = small_scan()
    data, affine = scan.data.transpose(order), scan.affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:, 3] += affine[:, axis] * (data.shape[axis] - 1)
            affine[:, axis] *= -1
            data = np.flip(data, axis)
    turned = predict_volume(Volume(data, affine), tiny_bundle, tiny_backend)
    for one, other in zip(centres(turned), centres(prediction), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    for lesion in turned.found.lesions:
        i, j, k = lesion.voxel_ijk
        assert turned.found.labels[k, j, i] == lesion.id


def test_the_same_twice(prediction: Prediction, tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    again = predict_volume(small_scan(), tiny_bundle, tiny_backend)
    assert np.array_equal(again.probability.data, prediction.probability.data)
    assert again.found.lesions == prediction.found.lesions


def test_a_scan_without_dots_is_negative(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    clean = predict_volume(small_scan(()), tiny_bundle, tiny_backend)
    assert (clean.found.lesions, clean.positive, clean.score) == ((), False, 0.0)
    assert not clean.mask.any()


def test_a_strict_operating_point_removes_by_score(
    tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    strict = predict_volume(
        small_scan(), tiny_bundle, tiny_backend, Request(operating_point="strict")
    )
    assert strict.found.lesions == ()
    assert {lesion.removed_by for lesion in strict.found.excluded} == {"score"}
    assert strict.found.stages["removed_by_score"] == len(strict.found.excluded) > 0


def test_the_patient_threshold_is_its_own(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    found = predict_volume(small_scan(), tiny_bundle, tiny_backend)
    high = found.operating_point.model_copy(update={"patient_threshold": 0.9999})
    assert found.positive
    assert not replace(found, operating_point=high).positive


def test_the_network_sees_every_slice_of_brain_with_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmbnet.predict.pipeline.STACKS_AT_ONCE", 10)
    context = SliceContext(target_mm=6.0)
    bundle = write_bundle(tmp_path, spec=spec(context=context), artefacts=[])
    recorder = Recorder()
    prediction = predict_volume(tiny_scan(), bundle, recorder)
    with_brain = np.flatnonzero(prediction.prepared.brain.any(axis=(1, 2)))
    expected = make_stacks(prediction.prepared.image, with_brain, spacing_z_mm=3.0, context=context)
    assert [len(stacks) for stacks in recorder.stacks] == [10, 10, len(with_brain) - 20]
    assert np.array_equal(np.concatenate(recorder.stacks), expected)


def test_only_the_masked_slices_are_looked_at(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, spec=spec(), artefacts=[])
    scan, recorder = small_scan(), Recorder(answer=0.25)
    mask = np.zeros(SHAPE)
    mask[6:9, 20:70, 20:70] = 1
    result = predict_volume(
        scan, bundle, recorder, Request(force=True), brain_mask=scan.with_data(mask)
    )
    assert result.slices == sum(map(len, recorder.stacks)) == 3
    assert np.flatnonzero(result.probability.data.any(axis=(1, 2))).tolist() == [6, 7, 8]
    assert result.found.highest_probability == 0.25


class Echo(Recorder):
    """A backend of two shapes that answers with the middle slice."""

    shapes: tuple[tuple[int, int], ...] = ((48, 48), (96, 96))

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        self.stacks.append(stacks.copy())
        return stacks[..., 1]


def test_slices_with_little_brain_are_seen_in_smaller_crops_at_the_same_place(
    tmp_path: Path,
) -> None:
    bundle = write_bundle(tmp_path, spec=spec(), artefacts=[])
    scan, small_too, whole = tiny_scan(), Echo(), Echo()
    whole.shapes = ((96, 96),)
    mask = np.zeros(SHAPE)
    mask[2:4, 30:50, 40:60] = 1
    mask[4:8, 10:80, 10:80] = 1
    mask[8:12, 30:50, 40:60] = 1
    parts, once = (
        predict_volume(scan, bundle, b, Request(force=True), brain_mask=scan.with_data(mask))
        for b in (small_too, whole)
    )
    assert {stacks.shape[1:3] for stacks in small_too.stacks} == {(96, 96), (48, 48)}
    # The two runs with little brain come together, so that each network is opened once.
    assert [stacks.shape[1] for stacks in small_too.stacks] == [96, 48, 48]
    assert {stacks.shape[1:3] for stacks in whole.stacks} == {(96, 96)}
    inside = mask > 0
    assert np.array_equal(parts.probability.data[inside], once.probability.data[inside])
    assert parts.slices == once.slices == sum(map(len, small_too.stacks))
    assert (parts.crop, once.crop) == ((96, 96), (96, 96))


def test_noise_is_not_analysable(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    noise = np.abs(np.random.default_rng(1).standard_normal(SHAPE)).astype(np.float32)
    volume = Volume(noise, small_scan().affine, source="noise.nii")
    with pytest.raises(
        InputRefused, match=r"noise.nii is not analysable and no count was made: .*nois"
    ):
        predict_volume(volume, tiny_bundle, tiny_backend)
    forced = predict_volume(volume, tiny_bundle, tiny_backend, Request(force=True))
    assert forced.forced
    assert not forced.quality.analysable


def test_an_unknown_operating_point(tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    with pytest.raises(UsageError, match="it has: balanced, strict"):
        predict_volume(small_scan(), tiny_bundle, tiny_backend, Request(operating_point="best"))


def test_a_file_is_read_and_its_hash_recorded(
    tmp_path: Path, tiny_bundle: Bundle, tiny_backend: Backend, prediction: Prediction
) -> None:
    file = tmp_path / "scan.nii.gz"
    write_nifti(small_scan(), file, dtype=np.float32)
    from_file = predict_file(file, tiny_bundle, tiny_backend)
    assert from_file.record.file == "scan.nii.gz"
    assert len(from_file.record.sha256) == 64
    assert next(iter(from_file.timings_s)) == "read"
    assert np.array_equal(from_file.found.labels, prediction.found.labels)


def test_a_missing_file(tmp_path: Path, tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    with pytest.raises(UnreadableFile, match=r"cannot read .*none\.nii"):
        predict_file(tmp_path / "none.nii", tiny_bundle, tiny_backend)


def test_prediction_and_thresholds_use_the_place_of_a_lesion(
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    prediction: Prediction,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the tissue makes half of the score. Below the threshold, a lesion is excluded."""
    for user in ("predict.pipeline", "training.choose.candidates"):
        monkeypatch.setattr(f"cmbnet.{user}.locate", lambda *_: Locator(None))
    monkeypatch.setattr(Locator, "place", lambda *_: Place(tissue=0.5))
    rules = replace(tiny_bundle.manifest.rules, in_tissue=True)
    manifest = tiny_bundle.manifest.model_copy(update={"rules": rules})
    placed = replace(tiny_bundle, manifest=manifest)
    halves = [one.score / 2 for one in prediction.found.lesions]
    found = predict_volume(small_scan(), placed, tiny_backend).found
    point = tiny_bundle.operating_point("default")
    assert [one.score for one in found.lesions] == pytest.approx(
        [half for half in halves if half >= point.lesion_score]
    )
    for kind, data in (
        ("images", small_scan()),
        ("lesions", small_scan().with_data(prediction.mask)),
    ):
        (tmp_path / kind).mkdir()
        write_nifti(data, tmp_path / kind / "a.nii.gz", dtype=np.float32)
    outline = OutlineRule(point.pixel_threshold, rules.outline_share)
    (scan,) = find_candidates(
        [read_labelled(tmp_path)], placed, tiny_backend, outlines=[outline], report=print
    )[outline]
    assert sorted(scan.scores(rules)) == pytest.approx(sorted(halves))
