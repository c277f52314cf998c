"""Shards cover a cohort once, and keep the sessions of a subject together."""

from __future__ import annotations

import pytest

from cmbnet.bids.find import Session
from cmbnet.bids.shard import Shard, read_shard
from cmbnet.errors import UsageError

SLURM = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "9"}


def test_shards_cover_every_session_once() -> None:
    sessions = [Session(f"{n:02}", label) for n in range(10) for label in ("a", "b")]
    parts = [Shard(number, 3).part(sessions) for number in (1, 2, 3)]
    assert sorted(one.name for part in parts for one in part) == [one.name for one in sessions]
    subjects = [{one.subject for one in part} for part in parts]
    assert [len(one) for one in subjects] == [4, 3, 3]


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("1/1", {}, Shard(1, 1)),
        ("20/20", SLURM, Shard(20, 20)),
        ("array", SLURM, Shard(5, 9)),
        ("array", SLURM | {"SLURM_ARRAY_TASK_STEP": "4"}, Shard(2, 3)),
        (
            "array",
            {"SGE_TASK_ID": "2", "SGE_TASK_FIRST": "2", "SGE_TASK_LAST": "6",
             "SGE_TASK_STEPSIZE": "2"},
            Shard(1, 3),
        ),
    ],
)  # fmt: skip
def test_shards_from_words_and_arrays(
    text: str, environment: dict[str, str], expected: Shard
) -> None:
    assert read_shard(text, environment) == expected


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", ""])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="a shard like 3/20"):
        read_shard(text, {})


@pytest.mark.parametrize("environment", [{}, {"SGE_TASK_ID": "undefined"}])
def test_no_array(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="got none; is this a job of an array"):
        read_shard("array", environment)
