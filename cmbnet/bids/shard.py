"""`Shard`: the part of a cohort that one process analyses, such as a job of an array."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cmbnet.bids.find import Session
from cmbnet.errors import UsageError

_ARRAYS = (
    tuple(f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP")),
    tuple(f"SGE_TASK_{name}" for name in ("ID", "FIRST", "LAST", "STEPSIZE")),
)
"""Number, first, last and step of a job array in the environment of its jobs."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `of` parts."""

    number: int = 1
    of: int = 1

    def part(self, sessions: Sequence[Session]) -> list[Session]:
        """Return the sessions of this part. All sessions of a subject are in one part."""
        order = {label: n for n, label in enumerate(dict.fromkeys(one.subject for one in sessions))}
        return [one for one in sessions if order[one.subject] % self.of == self.number - 1]


def read_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Read ``3/20``, or take the numbers of a SLURM or SGE array for ``array``.

    Args:
        text: The words of the command line.
        environment: The variables of this process.

    Raises:
        UsageError: If the text is something else, or this is no job of an array.

    Examples:
        >>> read_shard("3/20", {})
        Shard(number=3, of=20)
        >>> slurm = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5",
        ...          "SLURM_ARRAY_TASK_MAX": "8"}
        >>> read_shard("array", slurm)
        Shard(number=3, of=4)
    """
    if text == "array":
        return _of_array(environment)
    named = re.fullmatch(r"(\d+)/(\d+)", text)
    if named is None or not 1 <= int(named[1]) <= int(named[2]):
        raise UsageError(
            f"a shard like 3/20 (from 1/20 to 20/20) or the word array is required, got {text!r}",
            argument="shard",
        )
    return Shard(int(named[1]), int(named[2]))


def _of_array(environment: Mapping[str, str]) -> Shard:
    for names in _ARRAYS:
        values = [environment.get(name, "") for name in names]
        if all(value.isdecimal() for value in values[:3]):
            number, first, last = map(int, values[:3])
            step = int(values[3]) if values[3].isdecimal() else 1
            return Shard((number - first) // step + 1, (last - first) // step + 1)
    raise UsageError(
        "the numbers of a SLURM or SGE array are required in the environment "
        f"({', '.join(_ARRAYS[0][:3])} or {', '.join(_ARRAYS[1][:3])}), got none; "
        "is this a job of an array?",
        argument="shard",
    )
