from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile
from cmbnet.io import read_nifti, write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.preprocess import PreprocessRecipe, prepare
from cmbnet.training.data import cache_part
from cmbnet.training.data.cache import build_cache
from cmbnet.training.data.cache_index import read_index
from cmbnet.training.data.cache_part import IGNORE, LESION, MIMIC
from cmbnet.training.data.labelled import read_labelled
from cmbnet.training.data.reader import Cache
from cmbnet.volume import Volume

RECIPE = PreprocessRecipe(size=112)


@pytest.fixture(scope="module")
def path(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cache") / "train"
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


def test_a_chunk_is_a_slice_with_a_checksum(path: Path) -> None:
    with h5py.File(path / "all" / "case-a.h5") as file:
        for name in ("image", "marks"):
            data = file[name]
            assert data.chunks == (1, *data.shape[1:])
            assert data.dtype == np.uint8
            assert data.compression == "lzf"
            assert data.fletcher32


def test_a_cache_says_what_it_was_made_of(path: Path) -> None:
    index = read_index(path)
    assert "Research use only" in index.statement
    assert set(index.versions) >= {"cmbnet", "numpy", "h5py"}
    assert index.spec["name"] == "folder"
    assert len(index.spec_sha256) == 64
    assert PreprocessRecipe.from_dict(Cache(path).preprocess) == RECIPE
    with h5py.File(path / "all" / "case-a.h5") as file:
        assert "Research use only" in file.attrs["statement"]
        assert set(json.loads(file.attrs["sources"])) == {"image", "label", "ignore", "mimics"}


def test_a_bad_case_is_left_out_with_its_reason(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    other = Volume(np.zeros((8, 20, 20), np.uint8), spacing_affine((2.0, 0.6, 0.6)))
    write_nifti(other, tmp_path / "c" / "lesions" / "case-a.nii.gz", dtype=np.uint8)
    result = build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE)
    assert result.cases == ("case-b", "control")
    ((name, reason),) = result.refused
    assert name == "case-a"
    assert "must lie on the grid of its image: shape" in reason


def test_a_full_disk_is_said_and_leaves_no_part(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_part, "_fill", full)
    with pytest.raises(CmbnetError, match=r"cannot write .*case-a\.h5.*No space left.*make room"):
        build_cache(cohort, tmp_path / "t", recipe=RECIPE)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_processes_build_the_same_cache(cohort: Path, path: Path, tmp_path: Path) -> None:
    build_cache(cohort, tmp_path / "t", recipe=RECIPE, jobs=2)
    for one, two in zip(Cache(path).cases, Cache(tmp_path / "t").cases, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.crop_centres.mimic, two.crop_centres.mimic)


def test_scans_without_a_label_are_counted(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    (tmp_path / "c" / "lesions" / "case-b.nii.gz").unlink()
    scans = read_labelled(tmp_path / "c")
    assert [case.name for case in scans.cases] == ["case-a", "control"]
    assert [name for name, _ in scans.unlabelled] == ["case-b"]
    notes = build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE).faults
    assert "1 scans have no label and are left out" in " ".join(map(str, notes))
    shutil.rmtree(tmp_path / "c" / "lesions")
    with pytest.raises(UnreadableFile, match=r"3 scans have no label.*has no label lesions/case-a"):
        read_labelled(tmp_path / "c")


def test_a_cohort_of_unusable_cases_is_refused(tmp_path: Path) -> None:
    flat = Volume(np.zeros((8, 20, 20), np.float32), spacing_affine((2.0, 0.6, 0.6)))
    for kind in ("images", "lesions"):
        (tmp_path / "c" / kind).mkdir(parents=True)
        write_nifti(flat, tmp_path / "c" / kind / "a.nii.gz", dtype=np.float32)
    with pytest.raises(InputRefused, match=r"no case of .* could be used"):
        build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE)


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a training cache is required, got .*t:"):
        Cache(tmp_path / "t")
    (tmp_path / "t.h5").write_bytes(b"of an earlier version")
    with pytest.raises(UnreadableFile, match=r"a folder, got .*build it again"):
        Cache(tmp_path / "t.h5")


def test_a_cache_of_another_version_is_refused(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "t")
    text = (tmp_path / "t" / "cache.json").read_text()
    (tmp_path / "t" / "cache.json").write_text(text.replace("cache 2", "cache 1"))
    with pytest.raises(UnreadableFile, match="must be a 'cmbnet training cache 2'"):
        Cache(tmp_path / "t")


def test_a_cache_without_its_list_is_not_finished(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "t")
    (tmp_path / "t" / "cache.json").unlink()
    with pytest.raises(UnreadableFile, match="is not finished: repeat the command"):
        Cache(tmp_path / "t")


def test_a_part_that_is_missing_damaged_or_changed_is_refused(path: Path, tmp_path: Path) -> None:
    part = tmp_path / "t" / "all" / "case-a.h5"
    shutil.copytree(path, tmp_path / "t")
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match=r"case-a\.h5 is missing or damaged"):
        Cache(tmp_path / "t")
    with h5py.File(path / "all" / "case-a.h5") as file:
        at = file["image"].id.get_chunk_info(3).byte_offset
    part.write_bytes(whole[: at + 20] + bytes([whole[at + 20] ^ 1]) + whole[at + 21 :])
    with pytest.raises(UnreadableFile, match=r"case-a\.h5 is missing or damaged"):
        Cache(tmp_path / "t")
    part.write_bytes(whole)
    with h5py.File(part, "r+") as file:
        file.attrs["key"] = "other"
    with pytest.raises(UnreadableFile, match="was changed after the cache was finished"):
        Cache(tmp_path / "t")
    part.unlink()
    with pytest.raises(UnreadableFile, match=r"case-a\.h5 is missing or damaged"):
        Cache(tmp_path / "t")


def test_what_other_code_prepared_is_prepared_again(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    assert build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE).kept == 0
    assert build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE).kept == 3
    monkeypatch.setattr(cache_part, "code_sha256", lambda *_: "of other code")
    assert build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE).kept == 0


def test_what_did_not_change_is_kept(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    cache, part = tmp_path / "t", tmp_path / "t" / "all" / "case-a.h5"
    assert build_cache(tmp_path / "c", cache, recipe=RECIPE).kept == 0
    before = part.stat().st_mtime_ns
    result = build_cache(tmp_path / "c", cache, recipe=RECIPE)
    assert (result.kept, part.stat().st_mtime_ns) == (3, before)
    assert result.reports[0].lesions == 4
    labels = read_nifti(tmp_path / "c" / "lesions" / "case-a.nii.gz")
    fewer = np.where(labels.data == 4, 0, labels.data)
    write_nifti(
        labels.with_data(fewer), tmp_path / "c" / "lesions" / "case-a.nii.gz", dtype=np.uint16
    )
    result = build_cache(tmp_path / "c", cache, recipe=RECIPE)
    assert result.kept == 2
    assert Cache(cache).cases[0].lesions == 3
    assert build_cache(tmp_path / "c", cache, recipe=PreprocessRecipe(size=120)).kept == 0


def test_a_case_that_left_the_data_leaves_the_cache(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "c")
    build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE)
    other = tmp_path / "t" / "mine" / "other.h5"
    other.parent.mkdir()
    with h5py.File(other, "w") as file:
        file.attrs["whose"] = "not ours"
    for kind in ("images", "lesions", "ignore", "mimics"):
        (tmp_path / "c" / kind / "case-b.nii.gz").unlink()
    build_cache(tmp_path / "c", tmp_path / "t", recipe=RECIPE)
    assert not (tmp_path / "t" / "all" / "case-b.h5").exists()
    assert other.is_file()
    assert [case.name for case in Cache(tmp_path / "t").cases] == ["case-a", "control"]
