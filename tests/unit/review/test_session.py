"""A reader at work: what each action changes, and what is written when a case is finished."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.errors import InputRefused
from cmbnet.evaluation.readers.times import read_times
from cmbnet.io import read_nifti
from cmbnet.review import Review, ReviewLog, Session, open_cohort
from cmbnet.review.log import StaleRevision
from cmbnet.review.session import Wish
from cmbnet.review.verdicts import Arm
from tests.helpers.review_results import MISSED, add_phase

Opener = Callable[..., "Reader"]


class Reader:
    """A page without a browser."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.names = [case.name for case in session.cases]
        self.case(0 if "scan-0" not in self.names else self.names.index("scan-0"))

    def case(self, number: int) -> dict[str, Any]:
        self.number, self.state = number, self.session.show(number)
        return self.state

    def do(self, what: str, **values: Any) -> dict[str, Any]:
        wish = Wish(do=what, revision=self.state["revision"], **values)  # type: ignore[arg-type]
        self.state |= self.session.act(self.number, wish)
        return self.state

    def mark(self, name: str) -> dict[str, Any]:
        return next(mark for mark in self.state["marks"] if mark["id"] == name)

    def missed(self) -> tuple[int, int, int]:
        """The faint dot in the shown array: rows and columns run the other way."""
        z, y, x = MISSED
        _, rows, columns = self.state["shape"]
        return z, rows - 1 - (y + 1), columns - 1 - (x + 1)


@pytest.fixture
def open_as(results: Path, tmp_path: Path) -> Iterator[Opener]:
    """Open a review; the one before is closed."""
    stack = ExitStack()

    def open_review(
        name: str = "Ann", *, blind: bool = False, plan: dict[str, Arm] | None = None
    ) -> Reader:
        stack.close()
        log = stack.enter_context(ReviewLog(tmp_path / "reviews" / name))
        session = Session(open_cohort(results), log, name, blind=blind, plan=plan)
        assert session.repair() == []
        return Reader(session)

    with stack:
        yield open_review


def finished(reader: Reader) -> None:
    reader.do("judge", mark="1", judgement="accept")
    reader.do("judge", mark="2", judgement="reject", kind="vein")
    reader.do("judge", mark="3", judgement="uncertain")
    reader.do("add", at=reader.missed())
    reader.do("mark_note", mark="r1", text="=HYPERLINK(1)")
    reader.do("certainty", mark="r1", certainty="possible")
    reader.do("note", text="<script>alert(1)</script>")
    reader.do("finish")


def test_a_finished_case_is_written(open_as: Opener, results: Path, tmp_path: Path) -> None:
    reader = open_as()
    finished(reader)
    assert reader.state["finished"]
    folder = tmp_path / "reviews" / "Ann"
    model = read_nifti(results / "scan-0" / "lesions.nii.gz")
    labels = read_nifti(folder / "scan-0" / "lesions.nii.gz")
    mask = read_nifti(folder / "scan-0" / "mask.nii.gz")
    ignore = read_nifti(folder / "scan-0" / "ignore.nii.gz")
    assert np.array_equal(labels.affine, model.affine)
    assert set(np.unique(labels.data)) == {0, 1, 4}
    assert np.array_equal(labels.data == 1, model.data == 1)
    assert np.array_equal(ignore.data == 3, model.data == 3)
    assert np.array_equal(mask.data > 0, labels.data > 0)
    z, y, x = MISSED
    added = np.argwhere(labels.data == 4)
    assert added.min(axis=0).tolist() == [z, y, x]
    assert added.max(axis=0).tolist() == [z + 1, y + 3, x + 3]

    review = Review.model_validate_json((folder / "verdicts.json").read_bytes())
    (case,) = review.cases
    assert review.reader == "Ann"
    assert case.note == "<script>alert(1)</script>"
    told = [(one.label, one.source, one.judgement, one.kind) for one in case.verdicts]
    assert told == [
        (1, "model", "accept", None), (2, "model", "reject", "vein"),
        (3, "model", "uncertain", None), (4, "reader", "accept", None),
    ]  # fmt: skip
    assert case.verdicts[3].certainty == "possible"
    assert case.verdicts[3].outline == "dark spot"
    assert case.verdicts[3].volume_mm3 == pytest.approx(2 * 4 * 4 * 3)
    assert case.verdicts[3].max_in_plane_diameter_mm == pytest.approx(3 * 2**0.5 + 1, abs=1e-4)
    with (folder / "reviewed.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[3]["note"] == "'=HYPERLINK(1)"
    assert [row["label"] for row in rows] == ["1", "2", "3", "4"]


def test_all_that_was_said_is_there_after_a_restart(open_as: Opener, tmp_path: Path) -> None:
    reader = open_as()
    finished(reader)
    before = (tmp_path / "reviews" / "Ann" / "verdicts.json").read_bytes()
    shutil.rmtree(tmp_path / "reviews" / "Ann" / "scan-0")  # as if it was killed after the log
    again = open_as()
    assert again.state["marks"] == reader.state["marks"]
    assert (tmp_path / "reviews" / "Ann" / "verdicts.json").read_bytes() == before
    assert (tmp_path / "reviews" / "Ann" / "scan-0" / "mask.nii.gz").exists()


def test_a_change_takes_back_what_was_written(open_as: Opener, tmp_path: Path) -> None:
    reader = open_as()
    finished(reader)
    reader.do("undo")
    assert not reader.state["finished"]
    folder = tmp_path / "reviews" / "Ann"
    assert not list((folder / "scan-0").iterdir())
    assert json.loads((folder / "verdicts.json").read_text())["cases"] == []
    reader.do("undo")
    assert reader.state["note"] == ""


def test_two_readers_do_not_meet(open_as: Opener) -> None:
    open_as("Ann").do("judge", mark="1", judgement="accept")
    other = open_as("Ben")
    assert other.mark("1")["judgement"] is None
    other.do("judge", mark="1", judgement="reject", kind="other")
    assert open_as("Ann").mark("1")["judgement"] == "accept"


def test_the_order_is_that_of_the_reader(open_as: Opener) -> None:
    orders = {tuple(open_as(f"reader {n}").names) for n in range(12)}
    assert len(orders) == 2
    assert open_as("Ann").names == open_as("Ann").names


def test_a_tab_that_is_behind_is_told(open_as: Opener) -> None:
    reader = open_as()
    behind = Wish(do="judge", revision=0, mark="1", judgement="uncertain")
    reader.do("judge", mark="1", judgement="accept")
    with pytest.raises(StaleRevision, match="another tab"):
        reader.session.act(reader.number, behind)
    assert reader.session.show(reader.number)["marks"][0]["judgement"] == "accept"


def test_an_outline_grows_shrinks_and_is_painted(open_as: Opener) -> None:
    reader = open_as()
    reader.do("add", at=reader.missed())
    first = reader.mark("r1")["voxels"]
    wider = reader.do("resize", mark="r1", wider=True) and reader.mark("r1")["voxels"]
    assert set(first) <= set(wider)
    reader.do("resize", mark="r1", wider=False)
    assert reader.mark("r1")["voxels"] == first
    reader.do("paint", mark="r1", voxels=[*first, first[-1] + 1])
    assert reader.mark("r1")["voxels"] == [*first, first[-1] + 1]
    own = reader.mark("1")["voxels"]
    reader.do("paint", mark="1", voxels=own[1:])
    assert reader.mark("1")["voxels"] == own[1:]
    reader.do("remove", mark="r1")
    assert [mark["id"] for mark in reader.state["marks"]] == ["1", "2", "3"]
    reader.do("add", at=reader.missed())
    assert reader.mark("r2")["judgement"] == "accept"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"do": "judge", "mark": "7", "judgement": "accept"}, "there is no lesion 7"),
        ({"do": "judge", "mark": "1", "judgement": "reject"}, "a kind is required"),
        ({"do": "judge", "mark": "1", "judgement": "accept", "kind": "vein"}, "a kind is required"),
        ({"do": "remove", "mark": "1"}, "rejected, not removed"),
        ({"do": "resize", "mark": "1"}, "only an added lesion grows"),
        ({"do": "paint", "mark": "1", "voxels": []}, "a lesion needs a voxel"),
        ({"do": "paint", "mark": "1", "voxels": [10**9]}, "voxels within the scan"),
        ({"do": "paint", "mark": "1", "voxels": [-1]}, "voxels within the scan"),
        ({"do": "add", "at": [0, 0, 999]}, "a place within the scan"),
        ({"do": "add"}, "a place within the scan"),
        ({"do": "finish"}, "a verdict is required for every lesion, and 1, 2, 3 have none"),
        ({"do": "undo"}, "nothing can be undone"),
    ],
)
def test_what_cannot_be_done(open_as: Opener, wish: dict[str, Any], message: str) -> None:
    reader = open_as()
    with pytest.raises(InputRefused, match=message):
        reader.do(wish.pop("do"), **wish)
    assert reader.session.show(reader.number)["revision"] == 0


def test_blind_the_answer_is_hidden_until_the_reader_has_finished_alone(
    open_as: Opener, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("cmbnet.review.session.time.monotonic", lambda: clock[0])
    reader = open_as(blind=True)
    known = json.loads((results / "scan-0" / "result.json").read_text())["lesions"][0]
    assert reader.state["hidden"]
    assert reader.state["marks"] == []
    with pytest.raises(InputRefused, match="there is no lesion 1"):
        reader.do("judge", mark="1", judgement="accept")
    reader.do("add", at=reader.missed())
    x, y, z = known["voxel_ijk"]
    _, rows, columns = reader.state["shape"]
    clock[0] = 10
    reader.do("add", at=(z, rows - 1 - y, columns - 1 - x), seconds=8)
    assert reader.state["hidden"]
    clock[0] = 15
    reader.do("finish", seconds=99)  # no more time than has passed
    assert not reader.state["hidden"]
    assert not reader.state["finished"]
    assert reader.mark("1")["judgement"] == "accept"  # the reader has found it alone
    assert [mark["id"] for mark in reader.state["marks"]] == ["1", "2", "3", "r1"]
    reader.do("judge", mark="2", judgement="accept")
    reader.do("judge", mark="3", judgement="reject", kind="artefact")
    clock[0] = 30
    reader.do("finish", seconds=7)
    folder = tmp_path / "reviews" / "Ann"
    (case,) = Review.model_validate_json((folder / "verdicts.json").read_bytes()).cases
    found = {one.label: one.found_alone for one in case.verdicts}
    assert found == {1: True, 2: False, 3: False, 4: True}
    assert (case.seconds_without, case.seconds_with) == (13, 7)
    times = {one.arm: one.seconds for one in read_times(folder / "times.csv")}
    assert times == {"without": 13, "with": 7}
    alone = read_nifti(folder / "scan-0" / "alone.nii.gz").data
    mask = read_nifti(folder / "scan-0" / "mask.nii.gz").data
    assert alone[z, y, x] == 1
    assert mask.sum() > alone.sum()


def test_a_planned_session_keeps_its_order_and_hides_the_answer(
    open_as: Opener, tmp_path: Path
) -> None:
    reader = open_as(plan={"scan-1": "with", "scan-0": "without"})
    assert reader.names == ["scan-1", "scan-0"]
    assert reader.state["hidden"]
    reader.do("add", at=reader.missed())
    state = reader.do("finish")
    assert state["finished"]
    assert state["hidden"]
    assert [mark["id"] for mark in state["marks"]] == ["r1"]
    assert not reader.case(0)["hidden"]
    reader.do("finish")
    review = Review.model_validate_json((tmp_path / "reviews/Ann/verdicts.json").read_bytes())
    with_answer, alone = sorted(review.cases, key=lambda case: case.arms)
    assert (with_answer.arms, alone.arms) == (("with",), ("without",))
    assert [(one.label, one.source, one.found_alone) for one in alone.verdicts] == [
        (4, "reader", None)
    ]
    with pytest.raises(InputRefused, match="the plan names cases without a result: scan-7"):
        open_as(plan={"scan-7": "with"})


def test_the_phase_is_shown_where_there_is_one(open_as: Opener, results: Path) -> None:
    add_phase(results, "scan-0")
    reader = open_as()
    assert reader.state["phase"]
    number = reader.number
    grey = np.frombuffer(reader.session.phase(number), "<u2").reshape(reader.state["shape"])
    assert (grey[:, 0] == 65535).all()  # the front is up
    assert (grey[:, -1] == 0).all()
    assert not reader.case(1 - number)["phase"]
    with pytest.raises(InputRefused, match="this case has no phase"):
        reader.session.phase(1 - number)


def test_a_case_that_was_seen_is_not_hidden(open_as: Opener) -> None:
    open_as().do("judge", mark="1", judgement="accept")
    assert not open_as(blind=True).state["hidden"]


def test_a_result_of_another_model_is_refused(open_as: Opener, results: Path) -> None:
    reader = open_as()
    reader.do("judge", mark="1", judgement="accept")
    file = results / "scan-0" / "result.json"
    result = json.loads(file.read_text())
    result["request"]["bundle_sha256"] = "0" * 64
    file.write_text(json.dumps(result))
    with pytest.raises(InputRefused, match="was reviewed on the result of another model"):
        open_as()
