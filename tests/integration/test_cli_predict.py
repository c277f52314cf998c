"""``cmbnet predict`` as a user runs it: results, refusals, exit codes, and never a traceback."""

from __future__ import annotations

import csv
import html
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.bundle import Bundle
from cmbnet.errors import InputRefused
from cmbnet.evaluation.cohort.files import Folders, pair_files
from cmbnet.io import read_nifti, write_nifti
from cmbnet.volume import grid_difference
from tests.helpers.phase_scan import veined_scan, with_line
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FILES = {"mask.nii.gz", "lesions.nii.gz", "lesions.csv", "result.json", "report.html"}


@pytest.fixture(scope="module")
def run(tiny_bundle: Bundle) -> Run:
    """Run the command with the tiny model; check that faults are a line, not a traceback."""

    def call(*args: object, model: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "cmbnet", "predict", "--model", str(model or tiny_bundle.path)]
            + [str(arg) for arg in args],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scans: with dots, without, noise, and a truncated file."""
    folder = tmp_path_factory.mktemp("scans")
    write_nifti(tiny_scan(), folder / "dots.nii.gz", dtype=np.float32)
    write_nifti(tiny_scan(()), folder / "clean.nii", dtype=np.float32)
    noise = np.abs(np.random.default_rng(0).standard_normal(SHAPE))
    write_nifti(tiny_scan().with_data(noise), folder / "noise.nii", dtype=np.float32)
    whole = (folder / "dots.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no scan")
    return folder


def summary(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def result_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return values


def test_one_bad_case_never_stops_the_others(run: Run, scans: Path, tmp_path: Path) -> None:
    done = run(scans, "-o", tmp_path / "out")
    assert done.returncode == 4
    rows = summary(tmp_path / "out")
    assert {case: row["status"] for case, row in rows.items()} == {
        "clean": "done",
        "dots": "done",
        "noise": "refused",
        "truncated": "failed",
    }
    assert rows["dots"]["lesions"] == str(len(DOTS))
    assert (rows["clean"]["lesions"], rows["clean"]["positive"]) == ("0", "0")
    assert rows["noise"]["lesions"] == rows["noise"]["positive"] == ""
    assert {row["notice"] for row in rows.values()} == {RESEARCH_USE_ONLY}
    assert {file.name for file in (tmp_path / "out" / "dots").iterdir()} == FILES | {
        "thumbnail.jpg"
    }
    assert [file.name for file in (tmp_path / "out" / "noise").iterdir()] == ["report.html"]
    assert not (tmp_path / "out" / "truncated").exists()
    assert "truncated: failed: " in done.stderr
    assert "is truncated: its gzip stream ends" in done.stderr
    assert "noise: refused: noise.nii is not analysable" in done.stderr
    assert "dots: 3 lesions (0 small, 3 large), positive: " in done.stdout
    assert RESEARCH_USE_ONLY in done.stdout


def test_outputs_lie_on_the_grid_of_the_file(run: Run, scans: Path, tmp_path: Path) -> None:
    done = run(scans / "dots.nii.gz", "-o", tmp_path, "--save-probability")
    assert done.returncode == 0
    scan = read_nifti(scans / "dots.nii.gz")
    for name in ("mask", "lesions", "probability"):
        assert grid_difference(read_nifti(tmp_path / "dots" / f"{name}.nii.gz"), scan) is None
    mask = read_nifti(tmp_path / "dots" / "mask.nii.gz").data
    for z, y, x in DOTS:
        assert mask[z, y + 1, x + 1] == 1


def test_finished_cases_are_skipped_until_something_changes(
    run: Run, scans: Path, tmp_path: Path
) -> None:
    scan = tmp_path / "dots.nii.gz"
    scan.write_bytes((scans / "dots.nii.gz").read_bytes())
    out = tmp_path / "out"
    result = out / "dots" / "result.json"
    assert run(scan, "-o", out).returncode == 0
    first = result.stat().st_mtime_ns

    (out / "summary.csv").unlink()
    again = run(scan, "-o", out)
    assert (again.returncode, "(finished before)" in again.stdout) == (0, True)
    assert result.stat().st_mtime_ns == first
    assert summary(out)["dots"]["lesions"] == "3"  # the summary is whole again

    def runs_again(*args: str) -> bool:
        before = result.stat().st_mtime_ns
        assert run(scan, "-o", out, *args).returncode == 0
        return result.stat().st_mtime_ns != before

    assert runs_again("--overwrite")
    assert runs_again("--operating-point", "strict")
    assert not runs_again("--operating-point", "strict")
    assert runs_again("--save-probability")
    (out / "dots" / "mask.nii.gz").unlink()
    assert runs_again("--save-probability")
    result.write_text("{}")
    assert runs_again("--save-probability")
    write_nifti(tiny_scan(seed=1), scan, dtype=np.float32)
    assert runs_again("--save-probability")


def test_what_is_refused_can_be_forced(run: Run, scans: Path, tmp_path: Path) -> None:
    refused = run(scans / "noise.nii", "-o", tmp_path)
    assert refused.returncode == 3
    page = (tmp_path / "noise" / "report.html").read_text()
    assert "No count was made, and this page is no result" in page
    assert summary(tmp_path)["noise"]["reason"] in html.unescape(page)
    for sign in ("Microbleed report", "possible microbleed", "No microbleeds", "<img", "<table"):
        assert sign not in page
    forced = run(scans / "noise.nii", "-o", tmp_path, "--force")
    assert forced.returncode == 0
    quality = result_of(tmp_path / "noise")["quality"]
    assert isinstance(quality, dict)
    assert (quality["forced"], quality["analysable"]) == (True, False)
    assert summary(tmp_path)["noise"]["status"] == "done"
    assert "refusal was overruled" in (tmp_path / "noise" / "report.html").read_text()


def test_a_refused_scan_is_not_scored(run: Run, scans: Path, tmp_path: Path) -> None:
    assert run(scans / "noise.nii", scans / "dots.nii.gz", "-o", tmp_path / "out").returncode == 3
    for name in ("noise", "dots"):
        write_nifti(tiny_scan(), tmp_path / "truth" / f"{name}.nii.gz", dtype=np.float32)
    with pytest.raises(InputRefused, match="noise"):
        pair_files(Folders(tmp_path / "truth", tmp_path / "out"), allow_missing=False)


@pytest.mark.parametrize("now", ["noise.nii", "truncated.nii.gz"])
def test_an_earlier_answer_does_not_outlive_its_input(
    run: Run, scans: Path, tmp_path: Path, now: str
) -> None:
    scan, out = tmp_path / "dots.nii.gz", tmp_path / "out"
    scan.write_bytes((scans / "dots.nii.gz").read_bytes())
    assert run(scan, "-o", out, "--save-probability").returncode == 0
    (out / "dots" / "my notes.txt").write_text("not ours")
    scan.write_bytes((scans / now).read_bytes())
    assert run(scan, "-o", out).returncode in (3, 4)
    left = {file.name for file in (out / "dots").iterdir()}
    assert left == {"my notes.txt", *(["report.html"] if now == "noise.nii" else [])}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal for Ctrl-C")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_begins_no_further_case(
    tiny_bundle: Bundle, scans: Path, tmp_path: Path, jobs: int
) -> None:
    for number in range(40):
        (tmp_path / f"{number}.nii.gz").symlink_to(scans / "dots.nii.gz")
    command = [*(sys.executable, "-m", "cmbnet", "predict", tmp_path, "-o", tmp_path / "out")]
    with subprocess.Popen(
        [str(part) for part in [*command, "--model", tiny_bundle.path, "--jobs", jobs]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()  # the first case is done
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "Traceback" not in said
    finished = {file.parent.name for file in (tmp_path / "out").glob("*/result.json")}
    assert len(finished) < 20
    assert set(summary(tmp_path / "out")) == finished


def test_jobs_change_nothing_but_the_order(run: Run, scans: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        arguments = (scans / "dots.nii.gz", scans / "clean.nii", "-o", tmp_path / str(jobs))
        assert run(*arguments, "--jobs", jobs).returncode == 0
    for case in ("dots", "clean"):
        for name in FILES - {"result.json"}:
            one, two = (tmp_path / jobs / case / name for jobs in ("1", "2"))
            assert one.read_bytes() == two.read_bytes(), name
        results = [result_of(tmp_path / jobs / case) for jobs in ("1", "2")]
        for result in results:
            del result["timings_s"]
        assert results[0] == results[1]


def test_patterns_and_equal_names(run: Run, scans: Path, tmp_path: Path) -> None:
    for patient, source in (("p1", "dots.nii.gz"), ("p2", "dots.nii.gz")):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "swi.nii.gz").write_bytes((scans / source).read_bytes())
    done = run(tmp_path / "*" / "swi.nii.gz", "-o", tmp_path / "out")
    assert done.returncode == 0
    assert set(summary(tmp_path / "out")) == {"p1_swi", "p2_swi"}


def test_a_file_that_is_no_scan_by_its_name(run: Run, scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "sub-01_minIP.nii.gz"
    file.write_bytes((scans / "dots.nii.gz").read_bytes())
    refused = run(file, "-o", tmp_path / "out")
    assert (refused.returncode, refused.stdout.count("lesions")) == (3, 0)
    assert "is a projection of several slices (minIP) by its name" in refused.stderr
    assert summary(tmp_path / "out")["sub-01_minIP"]["status"] == "refused"
    assert run(file, "-o", tmp_path / "out", "--force").returncode == 0


def test_a_hostile_file_name_is_harmless(run: Run, scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "=cmd <script>alert(1)<.nii.gz"
    file.write_bytes((scans / "dots.nii.gz").read_bytes())
    assert run(file, "-o", tmp_path / "out").returncode == 0
    (case,) = summary(tmp_path / "out")
    assert case == "_cmd__script_alert_1__"
    page = (tmp_path / "out" / case / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;.nii.gz" in page


@pytest.mark.skipif(sys.platform == "win32", reason="such names cannot be there")
def test_names_that_a_terminal_would_obey_are_written_as_codes(
    run: Run, scans: Path, tmp_path: Path
) -> None:
    good, bad = (
        tmp_path / os.fsdecode(f"{name}\x1b[2J\n".encode() + b"\xff.nii.gz") for name in "gb"
    )
    good.write_bytes((scans / "dots.nii.gz").read_bytes())
    bad.write_bytes(b"no scan")
    (tmp_path / "sub-1\x1b[2J_minIP.nii.gz").touch()
    done = run(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 4
    assert "\x1b" not in done.stdout + done.stderr
    assert r"b\x1b[2J \udcff.nii.gz is not a NIfTI file" in done.stderr
    assert r"sub-1\x1b[2J_minIP.nii.gz is a projection" in done.stderr
    rows = summary(tmp_path / "out").values()
    assert sorted(row["input"] for row in rows) == [rf"{n}\x1b[2J \udcff.nii.gz" for n in "bg"]
    assert "\x1b" not in (tmp_path / "out" / "summary.csv").read_text()
    (answered,) = (tmp_path / "out").glob("*/result.json")
    assert "\\u001b" not in answered.read_text()


def test_brain_masks(run: Run, scans: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[6:18, 20:76, 24:72] = 1  # all dots but the one at column 30 lie well inside
    mask[:, :, :38] = 0
    (tmp_path / "masks").mkdir()
    write_nifti(tiny_scan().with_data(mask), tmp_path / "masks" / "dots.nii.gz", dtype=np.uint8)
    one = tmp_path / "masks" / "dots.nii.gz"
    for given in (one, one.parent):
        arguments = (scans / "dots.nii.gz", "-o", tmp_path / given.name, "--brain-mask", given)
        assert run(*arguments, "--force").returncode == 0
        assert summary(tmp_path / given.name)["dots"]["lesions"] == "2"
    wrong = tmp_path / "wrong.nii"
    write_nifti(tiny_scan().with_data(mask * 0), wrong, dtype=np.uint8)
    empty = run(scans / "dots.nii.gz", "-o", tmp_path / "e", "--brain-mask", wrong)
    assert (empty.returncode, "brain mask wrong.nii is empty" in empty.stderr) == (3, True)


def test_frames_of_a_4d_file(run: Run, tmp_path: Path) -> None:
    import nibabel as nib

    frames = np.stack([tiny_scan(()).data.T, tiny_scan().data.T], axis=-1)
    affine = tiny_scan().affine[:, [2, 1, 0, 3]]
    nib.Nifti1Image(frames, affine).to_filename(tmp_path / "two.nii.gz")
    none = run(tmp_path / "two.nii.gz", "-o", tmp_path / "out")
    assert none.returncode == 3
    assert "choose one of 0..1; they are never averaged (--frame)" in none.stderr
    second = run(tmp_path / "two.nii.gz", "-o", tmp_path / "out", "--frame", 1)
    assert (second.returncode, summary(tmp_path / "out")["two"]["lesions"]) == (0, "3")
    third = run(tmp_path / "two.nii.gz", "-o", tmp_path / "out", "--frame", 2)
    assert third.returncode == 4
    assert "frame 0..1 is required, got 2" in third.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{scans}/none.nii", "-o", "{out}"], "none.nii does not exist"),
        (["{scans}/dots.nii.gz"], "Missing option '-o'"),
        (["-o", "{out}"], "Missing argument 'INPUTS...'"),
        (["{scans}/*.dcm", "-o", "{out}"], "no .nii or .nii.gz file, DICOM folder or zip matches"),
        (["{out}", "-o", "{out}"], "holds no .nii or .nii.gz file"),
        (["{scans}", "-o", "{scans}/dots.nii.gz"], "is a file"),
        (["{scans}", "-o", "{out}", "--operating-point", "best"], "it has: balanced, strict"),
        (["{scans}", "-o", "{out}", "--backend", "tpu"], "backend must be auto or one of"),
        (["{scans}", "-o", "{out}", "--backend", "keras"], "has nothing for keras; it has litert"),
        (["{scans}", "-o", "{out}", "--jobs", "0"], "0 is not in the range"),
        (["{scans}", "-o", "{out}", "--frame", "-1"], "-1 is not in the range"),
        (
            ["{scans}", "-o", "{out}", "--brain-mask", "{scans}/clean.nii"],
            "one brain mask file fits one scan, got 4 scans",
        ),
        (
            ["{scans}/clean.nii", "-o", "{out}", "--brain-mask", "{out}"],
            "out/clean.nii does not exist",
        ),
    ],
)
def test_wrong_usage(
    run: Run, scans: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = run(*(a.format(scans=scans, out=out) for a in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(out.iterdir()) == []


def test_colliding_names_are_refused(run: Run, scans: Path, tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes((scans / "clean.nii").read_bytes())
    done = run(tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "would both be written to the folder" in done.stderr


def test_a_model_that_is_none(run: Run, scans: Path, tmp_path: Path) -> None:
    done = run(scans / "dots.nii.gz", "-o", tmp_path / "out", model=tmp_path)
    assert done.returncode == 4
    assert "is no model bundle" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_altered_model(run: Run, scans: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    for file in tiny_bundle.path.iterdir():
        content = file.read_bytes()
        broken = content[:-1] + b"?" if file.suffix == ".tflite" else content
        (tmp_path / file.name).write_bytes(broken)
    done = run(scans / "dots.nii.gz", "-o", tmp_path / "out", model=tmp_path)
    assert done.returncode == 4
    assert "was altered: sha256" in done.stderr
    assert not (tmp_path / "out" / "dots" / "result.json").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a read-only file system")
def test_an_output_folder_that_cannot_be_made(run: Run, scans: Path) -> None:
    done = run(scans / "dots.nii.gz", "-o", "/proc/cmbnet-out")
    assert done.returncode == 4
    assert "cannot make the output folder /proc/cmbnet-out" in done.stderr


def test_nothing_heavy_is_imported(tiny_bundle: Bundle, scans: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-X", "importtime", "-m", "cmbnet", "predict"),
            *(str(scans / "dots.nii.gz"), "-o", str(tmp_path), "--model", str(tiny_bundle.path)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    # The list is one of imports; threads write to it at once, so that a line can hold two.
    assert "ai_edge_litert" in done.stderr
    heavy = {"tensorflow", "keras", "jax", "matplotlib", "skimage", "pandas", "h5py", "onnxruntime"}
    heavy |= {"nibabel", "pydicom", "highdicom", "cmbnet.io.dicom"}
    assert imported & heavy == set()


def test_the_page_warns_of_fringe_lines_in_the_phase(run: Run, tmp_path: Path) -> None:
    scan, phase = veined_scan()
    lined = with_line(phase, slice(6, 18), ((40, 36), (64, 60)))
    write_nifti(scan, tmp_path / "scan.nii", dtype=np.float32)
    write_nifti(phase, tmp_path / "phase.nii", dtype=np.float32)
    write_nifti(lined, tmp_path / "lined.nii", dtype=np.float32)
    for name, warned in (("phase", False), ("lined", True)):
        out = tmp_path / f"out-{name}"
        run(tmp_path / "scan.nii", "--phase", tmp_path / f"{name}.nii", "-o", out)
        (folder,) = (file.parent for file in out.rglob("result.json"))
        findings = {one["code"]: one for one in result_of(folder)["quality"]["findings"]}
        assert ("phase_fringes" in findings) == warned
        page = html.unescape((folder / "report.html").read_text())
        assert ("the phases of the coils were combined badly" in page) == warned
        if warned:
            assert findings["phase_fringes"]["severity"] == "warning"
            assert findings["phase_fringes"]["message"] in page
