"""The cross-over design: balance, order, and a planned session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.review.plan import Turn, make_plan, read_plan, write_plan

FOUND = {"a": True, "b": False, "c": True, "d": False, "e": True, "f": True}
READERS = ["Ann", "Ben"]


def test_each_reader_reads_each_case_once_in_each_arm() -> None:
    turns = make_plan(FOUND, READERS, seed=1)
    read = Counter((turn.reader, turn.case, turn.arm) for turn in turns)
    assert set(read.values()) == {1}
    assert len(read) == len(READERS) * len(FOUND) * 2
    places = [turn.place for turn in turns if (turn.reader, turn.session) == ("Ben", 2)]
    assert places == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(5))
def test_the_arms_are_balanced_by_reader_case_and_answer(seed: int) -> None:
    first = [turn for turn in make_plan(FOUND, READERS, seed=seed) if turn.session == 1]
    by_case = Counter((turn.case, turn.arm) for turn in first)
    assert set(by_case.values()) == {1}  # one of two readers has the model's answer
    by_reader = Counter((turn.reader, FOUND[turn.case], turn.arm) for turn in first)
    # Of four cases with lesions two, of two without lesions one.
    assert {by_reader[name, True, arm] for name in READERS for arm in ("with", "without")} == {2}
    assert {by_reader[name, False, arm] for name in READERS for arm in ("with", "without")} == {1}


@pytest.mark.parametrize("cases", [1, 2, 7, 10])
def test_half_of_the_cases_lie_between_two_readings(cases: int) -> None:
    found = {f"case-{n}": n % 3 == 0 for n in range(cases)}
    for seed in range(20):
        turns = make_plan(found, ["Ann"], seed=seed)
        order = [turn.case for turn in turns]
        for case in found:
            first, second = (n for n, name in enumerate(order) if name == case)
            assert second - first - 1 >= cases // 2


def test_a_plan_by_hand() -> None:
    """Two cases without lesions: what one reader sees with the model, the other sees without."""
    arms = {
        (turn.reader, turn.session, turn.case): turn.arm
        for turn in make_plan({"a": False, "b": False}, READERS, seed=0)
    }
    assert {arms["Ann", 1, "a"], arms["Ann", 1, "b"]} == {"with", "without"}
    assert arms["Ann", 1, "a"] == arms["Ann", 2, "b"] == arms["Ben", 1, "b"] == arms["Ben", 2, "a"]


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = FOUND | {"=1+1": True}
    turns = make_plan(found, READERS, seed=3)
    write_plan(tmp_path, turns)
    expected = {t.case: t.arm for t in turns if (t.reader, t.session) == ("Ben", 2)}
    read = read_plan(tmp_path, "Ben", 2)
    assert read == expected
    assert list(read) == list(expected)
    assert turns == make_plan(found, READERS, seed=3)
    with pytest.raises(InputRefused, match="exists; move it away"):
        write_plan(tmp_path, turns)
    with pytest.raises(InputRefused, match=r"a reader of the plan .* \(Ann, Ben\), got Cy"):
        read_plan(tmp_path, "Cy", 1)


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"plan\.csv"):
        read_plan(tmp_path, "Ann", 1)
    write_plan(tmp_path, [Turn("Ann", 1, 1, "a", "maybe")])  # type: ignore[arg-type]
    with pytest.raises(UnreadableFile, match="maybe"):
        read_plan(tmp_path, "Ann", 1)
