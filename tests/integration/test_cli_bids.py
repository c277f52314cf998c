"""``cmbnet bids`` as a BIDS App: what it writes, what it refuses, what it does again."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.bundle import Bundle
from cmbnet.io.nifti import read_nifti
from tests.helpers.bids_tree import add_scan, bids_tree, describe
from tests.helpers.small_disk import resize, small_disk_in

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tiny_bundle: Bundle) -> Run:
    def call(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
        level = {"participant", "group"} & set(args)
        model = ["--model", str(tiny_bundle.path)] if level == {"participant"} else []
        return subprocess.run(
            [sys.executable, "-m", "cmbnet", "bids", *map(str, args), *model],
            capture_output=True, text=True, timeout=300, env=os.environ | environment,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bids_tree(tmp_path_factory.mktemp("cohort") / "raw")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> inode and time of every file."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def first(run: Run, raw: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    before, out = state(raw), raw.parent / "out"
    done = run(raw, out, "participant", "--save-probability")
    assert state(raw) == before  # the input is only read
    return done, out


def test_every_scan_gets_its_line(first: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = first
    assert done.returncode == 4, done.stderr
    lines = {line.split(":")[0]: line for line in done.stdout.splitlines()}
    assert "2 lesions (0 small, 2 large), positive" in lines["sub-01_ses-a_acq-SWI_T2starw"]
    assert "0 lesions" in lines["sub-02_run-2_swi"]
    assert "ses-b against ses-a: 1 new, 2 persistent" in lines["sub-01"]
    assert RESEARCH_USE_ONLY in done.stdout
    for part in (
        "sub-02_run-1_minIP.nii.gz is a projection of several slices (minIP) by its name",
        "put these lines into .bidsignore",
        "sub-03: refused: ",
        "sub-04: refused: one SWI per run is required, got 2 candidates",
        "sub-05_swi: failed: ",
        "sub-06_swi: refused: ",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_derivatives_have_the_names_of_bids(
    first: tuple[subprocess.CompletedProcess[str], Path], raw: Path
) -> None:
    _, out = first
    written = {name for name in state(out) if name.startswith("sub-")}
    scans = {
        "sub-01/ses-a/anat/sub-01_ses-a_acq-SWI": 2,
        "sub-01/ses-b/anat/sub-01_ses-b_acq-SWI": 3,
        "sub-02/anat/sub-02_run-1": 1,
        "sub-02/anat/sub-02_run-2": 0,
    }
    ends = ["mask.nii.gz", "mask.json", "dseg.nii.gz", "dseg.json", "dseg.tsv"]
    ends += ["probseg.nii.gz", "probseg.json"]
    expected = {
        f"{stem}_space-orig{'' if end.startswith('dseg') else '_label-CMB'}_desc-cmbnet_{end}"
        for stem in scans
        for end in ends
    }
    expected |= {f"sub-01/sub-01_sessions.{end}" for end in ("tsv", "json")}
    assert written == expected | {f"sub-0{n}.html" for n in range(1, 7)}
    for stem, lesions in scans.items():
        head = out / f"{stem}_space-orig_desc-cmbnet_dseg"
        labels = read_nifti(head.with_name(f"{head.name}.nii.gz")).data
        assert labels.max() == lesions
        with head.with_name(f"{head.name}.tsv").open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        assert [row["index"] for row in rows] == [str(n + 1) for n in range(lesions)]
    side = json.loads(next(out.glob("sub-01/ses-a/anat/*_mask.json")).read_text())
    assert side["Type"] == "Lesion"
    source = side["Sources"][0].removeprefix("bids:raw:")
    assert (raw / source).is_file()
    page = (out / "sub-01.html").read_text()
    assert "cases/sub-01_ses-b_acq-SWI_T2starw/report.html" in page
    assert "one SWI per run is required" in (out / "sub-04.html").read_text()


def validator() -> Path:
    """The program of the package bids-validator-deno."""
    for file in files("bids-validator-deno") or ():
        if file.name == "bids-validator-deno":
            return Path(str(file.locate()))
    pytest.skip("bids-validator-deno holds no program")


def test_the_validator_of_bids_accepts_the_derivatives(
    run: Run, first: tuple[subprocess.CompletedProcess[str], Path], raw: Path
) -> None:
    _, out = first
    assert run(raw, out, "group").returncode == 0
    said = subprocess.run(
        [validator(), str(out), "--format", "json"], capture_output=True, text=True, timeout=120
    )
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert [one for one in issues if one.get("severity") == "error"] == []
    assert said.returncode == 0


def test_a_run_again_does_only_what_changed(run: Run, raw: Path, tmp_path: Path) -> None:
    own = tmp_path / "raw"
    shutil.copytree(raw, own, ignore=shutil.ignore_patterns("sub-03", "sub-05", "sub-06"))
    out = tmp_path / "out"
    one = run(own, out, "participant", "--select", "echo-1", "--participant-label", "04", "02")
    assert one.returncode == 3  # sub-02 has no echo-1
    assert "none of the 2 candidates" in one.stderr
    assert run(own, out, "participant", "--select", "echo-1", "--participant-label", "04"
               ).returncode == 0  # fmt: skip
    assert run(own, out, "participant", "--participant-label", "01", "02").returncode == 0
    finished = state(out)
    again = run(own, out, "participant", "--participant-label", "01", "02")
    assert (again.returncode, state(out)) == (0, finished)

    # Another echo takes the place of the first.
    assert run(own, out, "participant", "--select", "echo-2", "--participant-label", "sub-04"
               ).returncode == 0  # fmt: skip
    assert {path.name.split("_space")[0] for path in out.glob("sub-04/anat/*")} == {"sub-04_echo-2"}
    assert sorted(path.parent.name for path in out.glob("cases/sub-04*/case.json")) == [
        "sub-04_echo-2_T2starw"
    ]

    # A scan that changes is done again; one that is now refused loses its mask.
    add_scan(own, "sub-02/swi/sub-02_run-1_swi.nii.gz", dots=2)
    shutil.copy(raw / "sub-05/anat/sub-05_swi.nii.gz", own / "sub-02/swi/sub-02_run-2_swi.nii.gz")
    left = out / "cases/sub-02_run-1_swi/.result.json.0a1b2c3d~"  # of a run that was killed
    left.touch()
    changed = run(own, out, "participant", "--participant-label", "02")
    assert not left.exists()
    assert changed.returncode == 4
    assert "sub-02_run-1_swi: 2 lesions" in changed.stdout
    masks = {path.name.split("_space")[0] for path in out.glob("sub-02/anat/*_mask.nii.gz")}
    assert masks == {"sub-02_run-1"}

    # A derivative that was lost is made again, without the network.
    (out / "sub-01/ses-a/anat").rename(tmp_path / "lost")
    (out / "sub-01/ses-a/anat").mkdir()
    name = "sub-01_ses-a_acq-SWI_space-orig_desc-cmbnet_dseg.tsv"
    (out / f"sub-01/ses-a/anat/.{name}.0a1b2c3d~").touch()  # of a run that was killed
    assert run(own, out, "participant", "--session-label", "a").returncode == 0
    assert len(list((out / "sub-01/ses-a/anat").iterdir())) == 5


def test_shards_share_the_work(run: Run, tmp_path: Path) -> None:
    raw = describe(tmp_path / "raw")
    for n in range(3):
        add_scan(raw, f"sub-{n}/anat/sub-{n}_swi.nii", dots=n)
    out = tmp_path / "out"
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    second = run(raw, out, "participant", "--shard", "array", "--json-lines", **array)
    (line,) = second.stdout.splitlines()
    record = json.loads(line)
    assert (record["case"], record["status"], record["row"]["lesions"]) == ("sub-1_swi", "done", 1)
    first = run(raw, out, "participant", "--shard", "1/2", "--json-lines")
    assert [json.loads(line)["case"] for line in first.stdout.splitlines()] == [
        "sub-0_swi", "sub-2_swi",
    ]  # fmt: skip


def test_two_runs_on_one_folder_do_not_damage_each_other(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    raw = describe(tmp_path / "raw")
    for n in range(4):
        add_scan(raw, f"sub-{n}/anat/sub-{n}_swi.nii", dots=n % 4)
    command = [sys.executable, "-m", "cmbnet", "bids", str(raw), str(tmp_path / "out")]
    both = [
        subprocess.Popen(
            [*command, "participant", "--model", str(tiny_bundle.path), "--json-lines"],
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    answers = [
        {record["case"]: record["result_sha256"] for record in map(json.loads, text.splitlines())}
        for text in said
    ]
    assert answers[0] == answers[1]  # the second took what the first had made
    assert len(answers[0]) == 4
    assert not list((tmp_path / "out").rglob("*~"))


def test_a_full_disk_is_a_line_for_each_scan_and_a_later_run_goes_on(
    run: Run, tmp_path: Path
) -> None:
    raw = describe(tmp_path / "raw")
    for n in range(6):
        add_scan(raw, f"sub-{n:02}/anat/sub-{n:02}_swi.nii")
    with small_disk_in(tmp_path, "350k") as disk:
        full = run(raw, disk / "out", "participant")
        assert full.returncode == 4
        assert "Traceback" not in full.stderr
        cases = {f"sub-{n:02}_swi" for n in range(6)}
        said = [line.split(":")[0] for line in (full.stdout + full.stderr).splitlines()]
        assert cases <= set(said)
        failed = [line for line in full.stderr.splitlines() if "failed" in line]
        assert failed
        assert all("(No space left on device); " in line for line in failed)
        resize(disk, "64m")
        assert run(raw, disk / "out", "participant").returncode == 0
        assert len(list(disk.glob("out/sub-*/anat/*_mask.nii.gz"))) == 6
        assert len(list(disk.glob("out/sub-*.html"))) == 6
        assert not list(disk.rglob("*~"))


def test_the_entry_point_of_the_container_needs_no_network_and_no_home(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """As with `docker run --read-only --tmpfs /tmp --network none`, but for the image itself."""
    recipe = Path(__file__).parents[2] / "deploy" / "bids" / "Dockerfile"
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", recipe.read_text(), re.MULTILINE)
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    for folder in (out, scratch):
        folder.mkdir()
    alone = [
        "unshare", "--mount", "--net", "sh", "-c",
        'mount --bind "$0" "$0" && mount -t tmpfs cmbnet-test "$1" && mount -o remount,bind,ro / '
        '&& shift && exec "$@"', str(out), str(scratch),
    ]  # fmt: skip
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    for level in (["participant", "--participant-label", "02"], ["group"]):
        done = subprocess.run(
            [*alone, sys.executable, "-m", *json.loads(entry), str(raw), str(out), *level,
             "--model", str(tiny_bundle.path)],
            capture_output=True, text=True, timeout=300, cwd="/",
            env=os.environ | {
                "HOME": "/nowhere", "TMPDIR": str(scratch),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert len(list(out.glob("sub-02/anat/*_mask.nii.gz"))) == 2
    assert (out / "cmbnet_group.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{raw}", "{raw}", "participant"], "an output folder other than the data set"),
        (["{out}", "{out}/d", "participant"], "dataset_description.json does not exist"),
        (["{out}", "{out}/d", "participant", "--skip-bids-validation"], "no folder sub-<label>"),
        (["{raw}", "{out}", "participant", "--participant-label", "99"], "has no sub-99"),
        (["{raw}", "{out}", "participant", "--shard", "3/2"], "a shard like 3/20"),
        (["{raw}", "{out}", "session"], "'session' is not one of 'participant', 'group'"),
    ],
)
def test_wrong_usage(run: Run, raw: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = run(*(word.format(raw=raw, out=tmp_path) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_group_without_results(run: Run, raw: Path, tmp_path: Path) -> None:
    done = run(raw, tmp_path, "group")
    assert (done.returncode, "run the level participant first" in done.stderr) == (4, True)
