"""The cross-over design of a reader study: who reads which case first without the model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final, get_args

from cmbnet.errors import InputRefused
from cmbnet.io import table_csv, write_text_atomically
from cmbnet.io.table import read_rows
from cmbnet.review.verdicts import Arm

PLAN: Final = "plan.csv"
SESSIONS: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Turn:
    """One reading of a plan."""

    reader: str  # Name of the reader
    session: int  # 1, or 2 after the washout
    place: int  # Place in the session, from 1
    case: str  # Name of the case
    arm: Arm  # Whether the model's answer is shown


def make_plan(found: Mapping[str, bool], readers: Sequence[str], *, seed: int) -> list[Turn]:
    """Plan two sessions in which each reader reads each case once in each arm.

    In the first session each reader has the model's answer for half of the cases, and each case is
    read with it by half of the readers, among the cases with lesions and among those without. In
    the second session it is the other way round. Cases are shuffled anew within each half of the
    first session, so at least half of the cases, rounded down, lie between two readings of a case.

    Args:
        found: Whether the model found lesions, by the name of the case.
        readers: Names of the readers.
        seed: Seed of the shuffles.
    """
    draw = random.Random(seed)
    mixed = draw.sample(sorted(found), len(found))
    position = {case: n for n, case in enumerate(sorted(mixed, key=lambda case: found[case]))}
    turns: list[Turn] = []
    for number, reader in enumerate(readers):
        first = draw.sample(mixed, len(mixed))
        halves = first[: len(first) // 2], first[len(first) // 2 :]
        second = [case for half in halves for case in draw.sample(half, len(half))]
        for session, cases in zip(SESSIONS, (first, second), strict=True):
            for place, case in enumerate(cases, start=1):
                arm = get_args(Arm)[(position[case] + number + session) % 2]
                turns.append(Turn(reader, session, place, case, arm))
    return turns


def write_plan(folder: Path, turns: Sequence[Turn]) -> Path:
    """Write ``plan.csv`` into the folder of the reviews, and return its path.

    Raises:
        InputRefused: If there is a plan.
    """
    path = folder / PLAN
    if path.exists():
        raise InputRefused(f"a folder without a plan is required, and {path} exists; move it away")
    columns = [field.name for field in fields(Turn)]
    write_text_atomically(path, table_csv(columns, map(astuple, turns)))
    return path


def read_plan(folder: Path, reader: str, session: int) -> dict[str, Arm]:
    """Read the arm of each case of a reader's session, in the order of reading.

    Raises:
        UnreadableFile: If there is no plan, or it is damaged.
        InputRefused: If the plan has no such session.
    """
    path = folder / PLAN
    turns = read_rows(path, f"columns {', '.join(field.name for field in fields(Turn))}", _turn)
    mine = sorted((t for t in turns if (t.reader, t.session) == (reader, session)),
                  key=lambda turn: turn.place)  # fmt: skip
    if not mine:
        names = ", ".join(sorted({turn.reader for turn in turns}))
        raise InputRefused(
            f"a reader of the plan {path} is required ({names}), got {reader}", argument="reader"
        )
    return {turn.case: turn.arm for turn in mine}


def _turn(row: dict[str, str]) -> Turn:
    arm = {name: name for name in get_args(Arm)}[row["arm"]]
    case = row["case"].removeprefix("'")  # stands before what a spreadsheet would run
    return Turn(row["reader"], int(row["session"]), int(row["place"]), case, arm)
