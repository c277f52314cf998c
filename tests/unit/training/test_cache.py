from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.preprocess import PreprocessRecipe, prepare
from cmbnet.training import cache as cache_module
from cmbnet.training.cache import IGNORE, LESION, MIMIC, build_cache, cache_of
from cmbnet.training.cohort import list_cohort, split_by_size
from cmbnet.training.reader import Cache
from cmbnet.volume import Volume

RECIPE = PreprocessRecipe(size=112)


@pytest.fixture(scope="module")
def path(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cache") / "train.h5"
    result = build_cache(cohort, target, recipe=RECIPE)
    assert result.cases == ("case-a", "case-b", "control")
    assert result.refused == ()
    return target


def test_the_cache_holds_what_preprocessing_gives(path: Path, cohort: Path) -> None:
    case = Cache(path).cases[0]
    prepared = prepare(read_nifti(cohort / "images" / "case-a.nii.gz"), RECIPE)
    _, y, x = case.origin
    box = prepared.image[:, y : y + case.image.shape[1], x : x + case.image.shape[2]]
    assert case.frame_shape == prepared.image.shape
    assert case.spacing_mm == pytest.approx(prepared.spacing_mm)
    np.testing.assert_allclose(case.image / 255.0, box, atol=0.5 / 255 + 1e-6)


def test_marks_lie_where_the_labels_are(path: Path, cohort: Path) -> None:
    case = Cache(path).cases[0]
    prepared = prepare(read_nifti(cohort / "images" / "case-a.nii.gz"), RECIPE)
    _, y, x = case.origin
    for kind, bit in (("lesions", LESION), ("ignore", IGNORE), ("mimics", MIMIC)):
        labels = read_nifti(cohort / kind / "case-a.nii.gz").data
        expected = prepared.frame.from_native(labels)[
            :, y : y + case.marks.shape[1], x : x + case.marks.shape[2]
        ]
        np.testing.assert_array_equal((case.marks & bit) > 0, expected > 0)
        assert expected.any()


def test_lesions_and_controls_are_told_apart(path: Path) -> None:
    cache = Cache(path)
    assert [case.lesions for case in cache.cases] == [4, 2, 0]
    assert cache.with_lesions == [0, 1]
    assert cache.controls == [2]


def test_a_chunk_is_a_slice_and_the_origin_is_told(path: Path) -> None:
    with h5py.File(path) as file:
        image = file["cases/case-a/image"]
        assert image.chunks == (1, *image.shape[1:])
        assert image.dtype == np.uint8
        assert "Research use only" in file.attrs["statement"]
        assert file.attrs["cohort"]
    assert PreprocessRecipe.from_dict(Cache(path).preprocess) == RECIPE


def test_lesions_outside_2_to_10_mm_are_ignored_not_negative() -> None:
    labels = np.zeros((3, 40, 40), np.int32)
    labels[1, 5:8, 5:8] = 1  # 3 pixels of 0.6 mm and their diagonal: over 2 mm
    labels[1, 20, 20] = 2  # one pixel
    labels[1, 25:45, 30] = 3  # 15 pixels: 9 mm
    labels[1, 10, 12:32] = 4  # 20 pixels: 12 mm
    target, outside = split_by_size(Volume(labels, spacing_affine((2.0, 0.6, 0.6))))
    assert sorted(np.unique(target[target > 0]).tolist()) == [1, 3]
    assert sorted(np.unique(labels[outside]).tolist()) == [2, 4]


def test_a_mask_is_split_into_its_components() -> None:
    mask = np.zeros((3, 40, 40), np.uint8)
    mask[1, 5:9, 5:9] = 1
    mask[1, 20:24, 20:24] = 1
    target, _ = split_by_size(Volume(mask, spacing_affine((2.0, 0.6, 0.6))))
    assert len(np.unique(target)) == 3


def test_a_bad_case_is_left_out_with_its_reason(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    other = Volume(np.zeros((8, 20, 20), np.uint8), spacing_affine((2.0, 0.6, 0.6)))
    write_nifti(other, tmp_path / "c" / "lesions" / "case-a.nii.gz", dtype=np.uint8)
    result = build_cache(tmp_path / "c", tmp_path / "t.h5", recipe=RECIPE)
    assert result.cases == ("case-b", "control")
    ((name, reason),) = result.refused
    assert name == "case-a"
    assert "must lie on the grid of its image: shape" in reason


def test_a_build_that_fails_leaves_nothing(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_case", full)
    with pytest.raises(OSError, match="No space left"):
        build_cache(cohort, tmp_path / "t.h5", recipe=RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_processes_build_the_same_cache(cohort: Path, path: Path, tmp_path: Path) -> None:
    build_cache(cohort, tmp_path / "t.h5", recipe=RECIPE, jobs=2)
    for one, two in zip(Cache(path).cases, Cache(tmp_path / "t.h5").cases, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.places.mimic, two.places.mimic)


def test_a_cohort_without_labels_for_an_image_is_refused(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    (tmp_path / "c" / "lesions" / "case-b.nii.gz").unlink()
    with pytest.raises(UnreadableFile, match=r"case-b\.nii\.gz has no file in .*lesions"):
        list_cohort(tmp_path / "c")


def test_a_cohort_of_unusable_cases_is_refused(tmp_path: Path) -> None:
    flat = Volume(np.zeros((8, 20, 20), np.float32), spacing_affine((2.0, 0.6, 0.6)))
    for kind in ("images", "lesions"):
        (tmp_path / "c" / kind).mkdir(parents=True)
        write_nifti(flat, tmp_path / "c" / kind / "a.nii.gz", dtype=np.float32)
    with pytest.raises(InputRefused, match=r"no case of .* could be used"):
        build_cache(tmp_path / "c", tmp_path / "t.h5", recipe=RECIPE)


@pytest.mark.parametrize("content", [None, b"no hdf5"])
def test_what_is_no_cache_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "t.h5").write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"a training cache is required, got .*t\.h5"):
        Cache(tmp_path / "t.h5")


def test_a_cache_of_another_version_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs["format"] = "cmbnet training cache 0"
    with pytest.raises(UnreadableFile, match="build it again"):
        Cache(tmp_path / "t.h5")


def test_a_cache_that_was_prepared_in_another_way_is_refused(path: Path) -> None:
    kept = cache_of(path, path, recipe=RECIPE, jobs=1, report=print)
    assert kept == path
    with pytest.raises(UsageError, match=r"was prepared with .*'physical'.* asks for .*'paper'"):
        cache_of(path, path, recipe=PreprocessRecipe(size=112, frame="paper"), jobs=1, report=print)
