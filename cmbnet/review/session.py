"""One reader at work: what the page shows, and what becomes of what the reader does."""

from __future__ import annotations

import datetime
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, InputRefused
from cmbnet.lesions.dark_spot import SHARE, dark_spot
from cmbnet.review.cohort import Cohort, OpenCase, ReviewCase
from cmbnet.review.log import CaseState, ReviewLog, StaleRevision
from cmbnet.review.outputs import (
    clear_case,
    measured,
    middle_of,
    read_case,
    voxels_of,
    write_case,
    write_tables,
)
from cmbnet.review.verdicts import (
    Action,
    Arm,
    CaseReview,
    Certainty,
    Judgement,
    Kind,
    Mark,
    Note,
)

MOST_OPEN: Final = 3
"""Cases that are kept in memory."""

STEP: Final = 0.1
SHARES: Final = (0.1, 0.9)
"""A press of a key moves the level of an outline by this much, within these bounds."""

MOST_VOXELS: Final = 200_000
"""A painted mark has at most this many. A ball of 10 mm has 4189 voxels of half a millimetre."""


class Wish(BaseModel):
    """What the page asks for. Voxels are those of the shown array."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    do: Literal[
        "judge", "certainty", "mark_note", "add", "resize", "paint", "remove", "note", "finish",
        "undo", "time",
    ]  # fmt: skip
    revision: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    mark: str = ""
    judgement: Judgement | None = None
    kind: Kind | None = None
    certainty: Certainty = "definite"
    text: Note = ""
    at: tuple[int, int, int] | None = None
    wider: bool = True
    voxels: Annotated[tuple[int, ...], Field(max_length=MOST_VOXELS)] = ()


class Session:
    """A reader's review of a cohort.

    Args:
        cohort: The cases.
        log: The log of the reader.
        reader: Name of the reader.
        blind: Whether the model's answer is hidden until the reader has finished a case alone.
        plan: Arm of each case of a planned session, in its order. ``without`` never shows the
            model's answer. None shows all cases.

    Raises:
        InputRefused: If the plan names cases that the cohort lacks.
    """

    def __init__(
        self,
        cohort: Cohort,
        log: ReviewLog,
        reader: str,
        *,
        blind: bool,
        plan: Mapping[str, Arm] | None = None,
    ) -> None:
        self.reader, self.blind, self._plan = reader, blind, plan or {}
        self._cohort, self._log = cohort, log
        self._folder: Path = log.path.parent
        self._lock = threading.RLock()
        self._open: OrderedDict[str, OpenCase] = OrderedDict()
        self._reviews: dict[str, CaseReview] = {}
        self._since: dict[str, float] = {}
        self._start = time.monotonic()
        self.cases = sorted(cohort.cases, key=self._turn_of)
        if plan is not None:
            by_name = {case.name: case for case in self.cases}
            absent = sorted(plan.keys() - by_name.keys())
            if absent:
                raise InputRefused(f"the plan names cases without a result: {', '.join(absent)}")
            self.cases = [by_name[name] for name in plan]

    def repair(self) -> list[str]:
        """Make the files agree with the log, after a process was killed between them.

        Returns:
            A sentence for each case whose files cannot be written.
        """
        faults = []
        for case in self.cases:
            state, folder = self._log.state(case.name), self._folder / case.name
            review = read_case(folder)
            try:
                if state.finished and (review is None or review.finished != state.finished):
                    review = write_case(folder, case.name, self._opened(case), state)
                elif not state.finished:
                    clear_case(folder)
            except (CmbnetError, OSError) as error:
                faults.append(f"case {case.name}: {error}")
            if state.finished and review is not None:
                self._reviews[case.name] = review
        self._write_tables()
        return faults

    def listing(self) -> dict[str, Any]:
        """Return the cases in the order of this reader, and how far each is."""
        return {
            "notice": RESEARCH_USE_ONLY,
            "version": __version__,
            "reader": self.reader,
            "blind": self.blind,
            "cases": [
                {
                    "name": case.name,
                    "fault": self._fault(case, state := self._log.state(case.name)),
                    "finished": bool(state.finished),
                    "begun": state.revision > 0,
                }
                for case in self.cases
            ],
        }

    def show(self, number: int) -> dict[str, Any]:
        """Return all that the page needs of a case but the pixels.

        Raises:
            CmbnetError: If the case cannot be reviewed.
        """
        case = self.cases[number]
        opened, state = self._opened(case), self._log.state(case.name)
        return {
            "name": case.name,
            "shape": opened.shown_shape,
            "spacing_mm": opened.shown_spacing_mm,
            "phase": opened.phase is not None,
            **self._state(case, opened, state),
        }

    def pixels(self, number: int) -> bytes:
        """Return the shown array of a case as uint16.

        Raises:
            CmbnetError: If the case cannot be reviewed.
        """
        return self._opened(self.cases[number]).pixels()

    def phase(self, number: int) -> bytes:
        """Return the phase of a case as uint16.

        Raises:
            CmbnetError: If the case cannot be reviewed or has no phase.
        """
        return self._opened(self.cases[number]).phase_pixels()

    def act(self, number: int, wish: Wish) -> dict[str, Any]:
        """Do what the page asks for, and return the new state when it is on the disk.

        Raises:
            StaleRevision: If the case was changed elsewhere.
            InputRefused: If it cannot be done.
            OSError: If the file system refuses. Then nothing is done.
        """
        case = self.cases[number]
        with self._lock:
            opened, before = self._opened(case), self._log.state(case.name)
            if wish.do != "time" and wish.revision != before.revision:
                raise StaleRevision(
                    f"case {case.name} was changed elsewhere (another tab?); it is shown anew, so "
                    "repeat what you did"
                )
            state = self._log.add(self._action(case, opened, before, wish))
            self._since[case.name] = time.monotonic()
            if wish.do != "time":
                self._write(case, opened, before, state)
            return self._state(case, opened, state)

    def _action(self, case: ReviewCase, opened: OpenCase, state: CaseState, wish: Wish) -> Action:
        hidden = self._hidden(case, state)
        do: Any = wish.do if wish.do in ("note", "undo", "time", "finish") else "mark"
        marks: tuple[Mark, ...] = ()
        if do == "mark":
            marks = (self._marked(opened, state, wish, hidden=hidden),)
        elif do == "finish" and hidden and not self._alone(case):
            do, marks = "reveal", self._agreeing(opened, state)
        elif do == "finish" and not hidden:
            self._require_all(opened, state)
        passed = time.monotonic() - self._since.get(case.name, self._start)
        arm: Arm = "without" if hidden else "with"
        return Action(
            case=case.name,
            do=do,
            revision=state.revision,
            at=datetime.datetime.now().astimezone().isoformat(timespec="milliseconds"),
            arm=arm,
            seconds=round(min(wish.seconds, passed), 2),
            result=case.key,
            marks=marks,
            note=wish.text if do == "note" else "",
        )

    def _marked(self, opened: OpenCase, state: CaseState, wish: Wish, *, hidden: bool) -> Mark:
        """Return a mark as the reader wishes it.

        Raises:
            InputRefused: If there is no such mark or voxel.
        """
        if wish.do == "add":
            return self._added(opened, state, wish)
        mark = state.marks.get(wish.mark)
        if mark is None and not hidden and wish.mark in map(str, opened.outlines):
            mark = Mark(id=wish.mark)
        if mark is None or mark.removed or (hidden and not mark.added):
            raise InputRefused(f"there is no lesion {wish.mark} in this case")
        return mark.model_copy(update=_changes(opened, mark, wish))

    def _added(self, opened: OpenCase, state: CaseState, wish: Wish) -> Mark:
        place = np.array([wish.at or (-1, -1, -1)])
        if not ((place >= 0) & (place < opened.shown_shape)).all():
            raise InputRefused("a place within the scan is required for a new lesion")
        z, y, x = opened.to_scan(place)[0].tolist()
        voxels = dark_spot(opened.volume, (z, y, x), opened.result.model.rules)
        return Mark(
            id=state.next_id,
            judgement="accept",
            voxels=tuple(voxels.tolist()),
            seed=(z, y, x),
            share=SHARE,
        )

    def _agreeing(self, opened: OpenCase, state: CaseState) -> tuple[Mark, ...]:
        """Accept the model's lesions that the reader has marked alone, in place of those marks."""
        own = [mark for mark in state.marks.values() if mark.added and not mark.removed]
        marks = []
        for number, voxels in opened.outlines.items():
            same = [one for one in own if np.isin(voxels_of(one, opened), voxels).any()]
            if same:
                first = same[0]
                marks.append(Mark(id=str(number), judgement=first.judgement, kind=first.kind,
                                  certainty=first.certainty, note=first.note))  # fmt: skip
                marks += [one.model_copy(update={"removed": True}) for one in same]
        return tuple({mark.id: mark for mark in marks}.values())

    def _require_all(self, opened: OpenCase, state: CaseState) -> None:
        judged = {mark.id for mark in state.marks.values() if mark.judgement}
        missing = [str(number) for number in opened.outlines if str(number) not in judged]
        if missing:
            raise InputRefused(
                f"a verdict is required for every lesion, and {', '.join(missing)} "
                f"{'has' if len(missing) == 1 else 'have'} none yet"
            )

    def _write(
        self, case: ReviewCase, opened: OpenCase, before: CaseState, state: CaseState
    ) -> None:
        """Write the files of a case that was finished, or take away those that are out of date."""
        folder = self._folder / case.name
        if state.finished:
            self._reviews[case.name] = write_case(folder, case.name, opened, state)
        elif before.finished:
            clear_case(folder)
            self._reviews.pop(case.name, None)
        if state.finished or before.finished:
            self._write_tables()

    def _write_tables(self) -> None:
        reviews = [self._reviews[name] for name in sorted(self._reviews)]
        write_tables(self._folder, self.reader, reviews)

    def _state(self, case: ReviewCase, opened: OpenCase, state: CaseState) -> dict[str, Any]:
        hidden = self._hidden(case, state)
        marks = [] if hidden else [
            state.marks.get(str(number), Mark(id=str(number))) for number in opened.outlines
        ]  # fmt: skip
        marks += [mark for mark in state.marks.values() if mark.added and not mark.removed]
        return {
            "revision": state.revision,
            "note": state.note,
            "finished": bool(state.finished),
            "hidden": hidden,
            "can_undo": self._log.can_undo(case.name),
            "seconds": sum(state.seconds.values()),
            "marks": [_shown(mark, opened) for mark in marks],
        }

    def _hidden(self, case: ReviewCase, state: CaseState) -> bool:
        """Return whether the model's answer is to be kept from the reader."""
        return self._alone(case) or (self.blind and state.alone is None and not state.seen)

    def _alone(self, case: ReviewCase) -> bool:
        """Return whether the plan never shows the model's answer of this case."""
        return self._plan.get(case.name) == "without"

    def _fault(self, case: ReviewCase, state: CaseState) -> str:
        if case.fault or state.result in ("", case.key):
            return case.fault
        return (
            f"{case.name} was reviewed on the result of another model or scan; move "
            f"{self._folder} away, or write this review to another folder"
        )

    def _opened(self, case: ReviewCase) -> OpenCase:
        fault = self._fault(case, self._log.state(case.name))
        if fault:
            raise InputRefused(fault)
        with self._lock:
            if case.name not in self._open:
                self._open[case.name] = self._cohort.open(case)
            self._open.move_to_end(case.name)
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
            return self._open[case.name]

    def _turn_of(self, case: ReviewCase) -> str:
        return hashlib.sha256(f"{self.reader}\n{case.name}".encode()).hexdigest()


def _changes(opened: OpenCase, mark: Mark, wish: Wish) -> dict[str, Any]:
    """Return the fields of a mark that a wish changes."""
    if wish.do == "judge":
        if (wish.judgement == "reject") != (wish.kind is not None):
            raise InputRefused("a kind is required for a rejected lesion, and only for it")
        return {"judgement": wish.judgement, "kind": wish.kind}
    if wish.do == "certainty":
        return {"certainty": wish.certainty}
    if wish.do == "mark_note":
        return {"note": wish.text}
    if wish.do == "resize":
        return _resized(opened, mark, wider=wish.wider)
    if wish.do == "paint":
        return {"voxels": _painted(opened, wish.voxels), "share": None}
    if not mark.added:
        raise InputRefused("a lesion of the model is rejected, not removed")
    return {"removed": True}


def _resized(opened: OpenCase, mark: Mark, *, wider: bool) -> dict[str, Any]:
    if mark.seed is None:
        raise InputRefused("only an added lesion grows and shrinks; paint on those of the model")
    share = (mark.share or SHARE) + (-STEP if wider else STEP)
    share = round(min(max(share, SHARES[0]), SHARES[1]), 2)
    voxels = dark_spot(opened.volume, mark.seed, opened.result.model.rules, share=share)
    return {"voxels": tuple(voxels.tolist()), "share": share}


def _painted(opened: OpenCase, voxels: tuple[int, ...]) -> tuple[int, ...]:
    try:
        found = opened.scan_voxels(voxels)
    except ValueError as error:
        raise InputRefused("voxels within the scan are required for a painted outline") from error
    if not found:
        raise InputRefused("a lesion needs a voxel; remove it or reject it instead")
    return found


def _shown(mark: Mark, opened: OpenCase) -> dict[str, Any]:
    voxels = voxels_of(mark, opened)
    component = measured(voxels, opened)
    lesion = next((one for one in opened.result.lesions if str(one.id) == mark.id), None)
    return {
        **mark.model_dump(exclude={"voxels", "seed", "share", "removed"}),
        "added": mark.added,
        "voxels": opened.shown_voxels(voxels),
        "centre": opened.to_shown(middle_of(voxels, opened)[np.newaxis])[0].tolist(),
        "diameter_mm": round(component.max_in_plane_diameter_mm, 1),
        "score": None if lesion is None else round(lesion.score, 2),
        "region": "" if lesion is None or lesion.place is None else lesion.place.region,
        "side": "" if lesion is None or lesion.place is None else lesion.place.side,
    }
