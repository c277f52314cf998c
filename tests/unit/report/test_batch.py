"""A batch: what is left of an earlier run, and a disk that is full."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import CmbnetError, UnreadableFile
from cmbnet.io import write_nifti
from cmbnet.io.case import Case
from cmbnet.predict import Request
from cmbnet.report import batch, result, update_summary
from cmbnet.report.batch import Outcome, run_batch
from tests.helpers.tiny_scan import tiny_scan


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    (tmp_path / "in").mkdir()
    found = [Case(name, tmp_path / "in" / f"{name}.nii") for name in ("one", "two")]
    for case in found:
        write_nifti(tiny_scan(), case.path, dtype=np.float32)
    return found


def test_a_run_that_is_cut_off_leaves_no_earlier_answer(
    tmp_path: Path,
    cases: list[Case],
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"

    def run() -> list[Outcome]:
        return list(
            run_batch(
                cases[:1], out, bundle=tiny_bundle, backend=tiny_backend, request=Request(),
                overwrite=True,
            )
        )  # fmt: skip

    run()
    assert (out / "one" / "result.json").exists()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "steps_of_file", killed)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not (out / "one").exists()


def test_what_other_code_answered_is_answered_again(
    tmp_path: Path,
    cases: list[Case],
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def statuses() -> list[str]:
        outcomes = run_batch(
            cases[:1], tmp_path / "out", bundle=tiny_bundle, backend=tiny_backend,
            request=Request(),
        )  # fmt: skip
        return [outcome.status for outcome in outcomes]

    assert [*statuses(), *statuses()] == ["done", "skipped"]
    monkeypatch.setattr(result, "code_sha256", lambda *_: "of other code")
    assert [*statuses(), *statuses()] == ["done", "skipped"]


def test_an_input_that_cannot_be_read_any_more_has_no_answer(
    tmp_path: Path, cases: list[Case], tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    def run() -> list[Outcome]:
        return list(
            run_batch(
                cases[:1], tmp_path, bundle=tiny_bundle, backend=tiny_backend, request=Request()
            )
        )

    assert [outcome.status for outcome in run()] == ["done"]
    cases[0].path.unlink()
    assert [outcome.status for outcome in run()] == ["failed"]
    assert not (tmp_path / "one").exists()


class FullDisk:
    """Takes so many files more, as a file system does that is nearly full."""

    def __init__(self, files: int) -> None:
        self.files = files

    def write(self, path: Path, *_: object) -> None:
        self.files -= 1
        if self.files < 0:
            raise OSError(28, "No space left on device", str(path))


def test_a_full_disk_is_not_the_fault_of_the_input(
    tmp_path: Path,
    cases: list[Case],
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = FullDisk(files=1)  # the empty summary
    for module in ("cmbnet.report.tables", "cmbnet.report.write"):
        monkeypatch.setattr(f"{module}.write_text_atomically", disk.write)
    monkeypatch.setattr("cmbnet.io.nifti_write.write_bytes_atomically", disk.write)
    out = tmp_path / "out"
    running = run_batch(cases, out, bundle=tiny_bundle, backend=tiny_backend, request=Request())
    for case in cases:
        outcome = next(running)
        assert (outcome.case, outcome.status) == (case, "failed")
        assert outcome.reason.startswith(f"cannot write {out / case.name}")
        assert "No space left on device); free some space and run again" in outcome.reason
        assert str(case.path) not in outcome.reason
    with pytest.raises(CmbnetError, match=r"cannot write .*summary\.csv \(No space left"):
        next(running)


def test_rows_wait_until_there_is_room(
    tmp_path: Path,
    cases: list[Case],
    tiny_bundle: Bundle,
    tiny_backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = run_batch(
        cases, tmp_path, bundle=tiny_bundle, backend=tiny_backend, request=Request()
    )
    with monkeypatch.context() as full:
        real = update_summary
        calls: list[int] = []

        def second_fails(path: Path, rows: list[dict[str, object]]) -> None:
            calls.append(len(rows))
            if len(calls) == 2:
                raise OSError(28, "No space left on device", str(path))
            real(path, rows)

        full.setattr(batch, "update_summary", second_fails)
        assert [outcome.status for outcome in running] == ["done", "done"]
    assert calls == [0, 1, 2, 0]
    with (tmp_path / "summary.csv").open(newline="") as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["one", "two"]


def test_a_foreign_summary_stops_before_any_case(
    tmp_path: Path, cases: list[Case], tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    (tmp_path / "summary.csv").write_text("my,own\n")
    running = run_batch(
        cases, tmp_path, bundle=tiny_bundle, backend=tiny_backend, request=Request()
    )
    with pytest.raises(UnreadableFile, match="is no summary"):
        next(running)
    assert not (tmp_path / "one").exists()


def test_a_bad_case_stops_no_neighbour_and_the_order_stays(
    tmp_path: Path, cases: list[Case], tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    (tmp_path / "in" / "torn.nii").write_bytes(cases[0].path.read_bytes()[:2000])
    noise = np.random.default_rng(0).random(tiny_scan().shape).astype(np.float32)
    write_nifti(tiny_scan().with_data(noise), tmp_path / "in" / "noise.nii", dtype=np.float32)
    bad = [Case(name, tmp_path / "in" / f"{name}.nii") for name in ("torn", "noise")]
    several = [cases[0], *bad, cases[1]]
    out = tmp_path / "out"
    outcomes = list(
        run_batch(several, out, bundle=tiny_bundle, backend=tiny_backend, request=Request())
    )
    assert [outcome.case for outcome in outcomes] == several
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "refused", "done"]
    with (out / "summary.csv").open(newline="") as stream:
        names = [row["case"] for row in csv.DictReader(stream)]
    assert names == sorted(case.name for case in several)
    alone = list(
        run_batch(cases[1:], tmp_path / "alone", bundle=tiny_bundle, backend=tiny_backend,
                  request=Request())
    )  # fmt: skip
    assert alone[0].status == "done"
    for name in ("mask.nii.gz", "lesions.nii.gz", "lesions.csv"):
        assert (out / "two" / name).read_bytes() == (tmp_path / "alone/two" / name).read_bytes()
