"""The sessions of a subject are compared once: what is new, in which order, what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cmbnet.backends import Backend
from cmbnet.bids.derivatives import prepare_folder
from cmbnet.bids.find import find_sessions
from cmbnet.bids.group import write_group
from cmbnet.bids.record import CASES, Record
from cmbnet.bids.run import compare_subjects, run_participants
from cmbnet.bids.sessions import Followed
from cmbnet.bundle import Bundle
from cmbnet.predict import Request
from cmbnet.report.batch import run_cases
from tests.helpers.bids_tree import add_scan, describe

Run = Callable[..., list[Record | Followed]]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Subject 1 has three sessions, of which the last holds no SWI; subject 2 has one."""
    root = describe(tmp_path / "raw")
    add_scan(root, scan("1", "m6"), dots=2)
    add_scan(root, scan("1", "m12"), dots=3, seed=1)
    (root / "sub-1/ses-m18/anat").mkdir(parents=True)
    add_scan(root, scan("2", "m6"), dots=1)
    return root


def scan(subject: str, session: str) -> str:
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_swi.nii"


@pytest.fixture
def run(raw: Path, tmp_path: Path, tiny_bundle: Bundle, tiny_backend: Backend) -> Run:
    out = tmp_path / "out"

    def call(*sessions: str) -> list[Record | Followed]:
        engine = partial(
            run_cases,
            out_dir=out / CASES,
            bundle=tiny_bundle,
            backend=tiny_backend,
            request=Request(),
        )
        prepare_folder(out, raw)
        found = find_sessions(raw, sessions=sessions)
        return list(run_participants(found, raw, out, engine, tiny_bundle))

    return call


def followed(found: list[Record | Followed]) -> list[Followed]:
    return [one for one in found if isinstance(one, Followed)]


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "sub-1/sub-1_sessions.tsv").open(newline="") as stream:
        return {row["session_id"]: row for row in csv.DictReader(stream, delimiter="\t")}


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_later_sessions_are_compared_with_the_first(run: Run, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (one,) = followed(run())
    assert (one.case, one.status) == ("sub-1", "done")
    assert one.lines == ("ses-m12 against ses-m6: 1 new, 2 persistent",)
    table = rows(out)
    assert list(table) == ["ses-m6", "ses-m12", "ses-m18"]
    first, later, none = table.values()
    assert [first[name] for name in ("lesions", "new", "compared_with")] == ["2", "n/a", "n/a"]
    assert [later[name] for name in ("lesions", "new", "persistent", "compared_with")] == [
        "3", "1", "2", "ses-m6",
    ]  # fmt: skip
    assert later["scan"] == scan("1", "m12")
    assert "no acq_time in the data set: sessions are in order of their labels" in later["warnings"]
    assert none["status"] == "refused"
    assert "holds no SWI" in none["reason"]
    words = json.loads((out / "sub-1/sub-1_sessions.json").read_text())
    assert ["session_id", *words] == list(first)
    page = (out / "sub-1.html").read_text()
    assert '1 new, 2 persistent. <a href="compare/sub-1/compare.html">' in page
    assert "Sessions compared" not in (out / "sub-2.html").read_text()
    assert "1 new" in (out / one.page).read_text()

    page = write_group(raw, out).read_text()
    assert '<td><a href="compare/sub-1/compare.html">1</a></td>' in page
    with (out / "cmbnet_group.tsv").open(newline="") as stream:
        joined = {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert [joined[scan("1", name)]["new_lesions"] for name in ("m6", "m12")] == ["n/a", "1"]


def test_only_what_changed_is_compared_again(run: Run, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = run()
    files = state(out)
    assert run() == before
    assert state(out) == files

    add_scan(raw, scan("1", "m12"), dots=2, seed=1)
    (again,) = followed(run("m12"))  # the other session is known from before
    assert again.lines == ("ses-m12 against ses-m6: 2 persistent",)

    (out / again.page).unlink()
    assert followed(run()) == [again]
    assert (out / again.page).is_file()

    (raw / scan("1", "m6")).unlink()
    assert followed(run()) == []
    assert not list(out.glob("compare/*/*"))
    assert not list(out.glob("sub-1/*_sessions.*"))


def test_the_group_compares_what_no_run_could(
    run: Run, raw: Path, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    assert followed(run("m6")) == []
    aside = tmp_path / "aside"  # as if the other run had begun before this one ended
    (out / CASES / "sub-1_ses-m6_swi").rename(aside)
    assert followed(run("m12")) == []
    aside.rename(out / CASES / "sub-1_ses-m6_swi")
    (one,) = compare_subjects(raw, out, tiny_bundle)
    assert isinstance(one, Followed)
    assert one.lines == ("ses-m12 against ses-m6: 1 new, 2 persistent",)
    assert "compare/sub-1/compare.html" in (out / "sub-1.html").read_text()


def test_times_and_protocols_of_the_data_set_are_read(run: Run, raw: Path, tmp_path: Path) -> None:
    for session, time, field in (("m6", "1877-06-02T00:00:00", 3), ("m12", "1877-06-01", 1.5)):
        (raw / f"sub-1/ses-{session}/sub-1_ses-{session}_scans.tsv").write_text(
            f"filename\tacq_time\nanat/sub-1_ses-{session}_swi.nii\t{time}\n"
        )
        file = (raw / scan("1", session)).with_suffix(".json")
        file.write_text(json.dumps({"MagneticFieldStrength": field}))
    (one,) = followed(run())
    assert one.lines == ("ses-m6 against ses-m12: 2 persistent, 1 no longer seen",)
    warnings = rows(tmp_path / "out")["ses-m6"]["warnings"]
    assert "MagneticFieldStrength differs (1.5 and 3)" in warnings
    assert "acq_time" not in warnings


def test_sessions_that_do_not_fit_are_refused_once(run: Run, raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / scan("1", "m6"), raw / scan("1", "m12"))
    out = tmp_path / "out"
    (one,) = followed(run())
    assert (one.status, one.page) == ("refused", "")
    assert "got one scan twice" in one.reason
    assert "got one scan twice" in rows(out)["ses-m12"]["reason"]
    assert "got one scan twice" in (out / "sub-1.html").read_text()
    files = state(out)
    assert followed(run()) == [one]
    assert state(out) == files


def test_a_scan_that_is_away_is_refused_until_it_is_back(
    run: Run, raw: Path, tmp_path: Path, tiny_bundle: Bundle
) -> None:
    out = tmp_path / "out"
    run("m6")
    run("m12")
    shutil.rmtree(out / "compare")
    file = raw / scan("1", "m6")
    file.rename(tmp_path / file.name)
    (one,) = compare_subjects(raw, out, tiny_bundle)
    assert (one.status, "but it is not there" in one.reason) == ("refused", True)
    (tmp_path / file.name).rename(file)
    (one,) = compare_subjects(raw, out, tiny_bundle)
    assert one.status == "done"
