"""``cmbnet compare``: what it prints, and how it ends."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from cmbnet.bundle import Bundle
from cmbnet.cli import main
from cmbnet.io import write_nifti
from cmbnet.phantom import make_case
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from cmbnet.volume import Volume
from tests.helpers.dicom_series import edit
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan


@pytest.fixture
def scans(tmp_path: Path) -> tuple[str, str]:
    later = tiny_scan(DOTS)
    paths = tmp_path / "first.nii.gz", tmp_path / "later.nii.gz"
    write_nifti(tiny_scan(DOTS[:2]), paths[0], dtype=np.float32)
    write_nifti(later.with_data(later.data * 1.01), paths[1], dtype=np.float32)
    return str(paths[0]), str(paths[1])


NOISE = np.abs(np.random.default_rng(0).standard_normal(SHAPE)).astype(np.float32)


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *args, "--backend", "litert:float32", "--threads", "1"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_new_lesions_are_printed_and_files_written(
    scans: tuple[str, str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(*scans, "-o", str(out), "--model", str(tiny_bundle.path)) == 0
    said = capsys.readouterr().out
    assert "later.nii.gz: 1 new, 2 persistent" in said
    assert "ARIA-H by microhaemorrhages: no category: the field strength is unknown" in said
    assert sorted(path.name for path in out.iterdir()) == ["compare.html", "compare.json"]


def test_one_scan_twice_is_refused_and_nothing_is_written(
    scans: tuple[str, str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(scans[0], scans[0], "-o", str(out), "--model", str(tiny_bundle.path)) == 3
    assert "different scans are required to compare, got one scan twice" in capsys.readouterr().err
    assert not out.exists()


def test_a_scan_that_is_not_analysable_is_refused(
    scans: tuple[str, str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise, out = tmp_path / "noise.nii.gz", tmp_path / "out"
    write_nifti(tiny_scan().with_data(NOISE), noise, dtype=np.float32)
    assert run(scans[0], str(noise), "-o", str(out), "--model", str(tiny_bundle.path)) == 3
    assert "noise.nii.gz is not analysable and no count was made" in capsys.readouterr().err
    assert not out.exists()


def head(seed: int) -> Volume:
    return make_case(seed, positive=True, anatomy="procedural", lesion_count=3).image


def flipped(scan: Volume) -> Volume:
    return scan.with_data(np.ascontiguousarray(scan.data[:, :, ::-1]))


def part(scan: Volume, first: int) -> Volume:
    affine = scan.affine.copy()
    affine[:3, 3] += first * affine[:3, 0]
    return Volume(scan.data[first:], affine, "part")


@pytest.mark.parametrize(
    ("scans", "code", "message"),
    [
        (lambda: (head(2), head(3)), 0, "agrees: check that the scans are of one person"),
        (lambda: (head(1), head(2)), 3, "or they are of two persons"),
        (lambda: (head(2), flipped(head(2))), 3, "seems to be mirrored"),
        (lambda: (tiny_scan(DOTS), part(tiny_scan(DOTS), 10)), 0, "1 not assessable"),
    ],
    ids=["two heads", "two heads, mirror image fits better", "mirrored", "fewer slices"],
)
def test_what_no_header_says(
    scans: Callable[[], tuple[Volume, Volume]],
    code: int,
    message: str,
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths, out = [str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")], tmp_path / "out"
    for scan, path in zip(scans(), paths, strict=True):
        write_nifti(scan, path, dtype=np.float32)
    assert run(*paths, "-o", str(out), "--model", str(tiny_bundle.path)) == code
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert out.exists() == (code == 0)


@pytest.mark.parametrize(
    ("people", "years", "message"),
    [
        (("one", "two"), (2024, 2026), "one patient are required, but their patient IDs differ"),
        (("one", "one"), (2026, 2024), "but a later one has an earlier date"),
    ],
)
def test_headers_that_forbid_a_comparison(
    people: tuple[str, str],
    years: tuple[int, int],
    message: str,
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for patient, year in zip(people, years, strict=True):
        scan = tiny_scan(DOTS[:2])
        header = ScanHeader(name=f"{patient}-{year}", date=f"{year}0102")
        write_dicom_series(
            scan.with_data(scan.data * year / 2024), tmp_path / str(year), vendor=Vendor.GE,
            scan=header,
        )  # fmt: skip
        for file in (tmp_path / str(year)).rglob("IM*"):
            edit(file, partial(FileDataset.__setattr__, name="PatientID", value=patient))
    out, studies = tmp_path / "out", [str(tmp_path / str(year)) for year in years]
    assert run(*studies, "-o", str(out), "--model", str(tiny_bundle.path)) == 3
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_finished_results_need_no_network(
    scans: tuple[str, str], tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(tiny_bundle.path))
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as ended:
        main(["predict", *scans, "-o", str(results), "--backend", "litert:float32", *model])
    assert ended.value.code == 0
    cases, out = [str(results / name) for name in ("first", "later")], str(tmp_path / "out")
    assert run(*cases, "-o", out, *model) == 2
    err = capsys.readouterr().err
    assert "the folder of its scan is required" in err
    assert "--scans" in err
    assert run(*cases, "-o", out, "--scans", str(tmp_path), *model) == 0
    said = capsys.readouterr()
    assert "later.nii.gz: 1 new, 2 persistent" in said.out
    assert "warning: no header says that the scans are of one person" in said.err


def test_a_bad_row_of_a_table_stops_no_other(
    scans: tuple[str, str], tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "pairs.csv", tmp_path / "out"
    table.write_text(
        "case,baseline,followup,followup_2\n"
        "twice,first.nii.gz,first.nii.gz,\n"
        "lost,first.nii.gz,nowhere.nii.gz,\n"
        "good,first.nii.gz,later.nii.gz,\n"
    )
    model = ("--model", str(tiny_bundle.path), "--same-protocol")
    assert run("--table", str(table), "-o", str(out), *model) == 4
    said = capsys.readouterr()
    assert "twice: refused: different scans are required" in said.err
    assert "lost: failed: input " in said.err
    assert "good: later.nii.gz: 1 new, 2 persistent" in said.out
    with (out / "summary.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert [row["status"] for row in rows.values()] == ["refused", "failed", "done"]
    good = rows["good"]
    assert (good["new"], good["persistent"], good["aria_h"]) == ("1", "2", "mild")
    assert (good["baseline_lesions"], good["lesions"]) == ("2", "3")
    assert sorted(path.name for path in out.iterdir()) == ["good", "summary.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,baseline\na,b\n", "columns case, baseline and followup are required"),
        ("case,baseline,followup\n", "a row for each patient is required"),
        ("case,baseline,followup\n../a,b,c\n", "got '../a' in the column case"),
        ("case,baseline,followup\na,b,c\nA,b,c\n", "got 'A' in the column case"),
    ],
)
def test_tables_that_are_none(
    text: str,
    message: str,
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    out = str(tmp_path / "out")
    assert run("--table", str(table), "-o", out, "--model", str(tiny_bundle.path)) in (2, 4)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [(), ("one.nii",), ("one.nii", "two.nii", "--table", "t.csv")])
def test_scans_or_a_table(
    given: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.nii", "two.nii", "t.csv"):
        Path(name).touch()
    assert run(*given, "-o", "out") == 2
    assert "BASELINE and FOLLOWUP are required, or --table and no scan" in capsys.readouterr().err


def test_a_scan_that_is_not_there_is_told_before_any_work(
    scans: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scans[0], str(tmp_path / "none.nii"), "-o", str(tmp_path / "out")) == 2
    assert "none.nii' does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
