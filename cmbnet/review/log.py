"""The log of one reader: every action is on the disk before anybody is told that it is done."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.review.verdicts import Action, Mark

LOG: Final = "actions.jsonl"

_READER = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for itself."""


class StaleRevision(InputRefused):
    """Another tab has changed the case since this one read it."""


@dataclass(slots=True)
class CaseState:
    """What the actions of a case add up to."""

    revision: int = 0  # Number of actions, without those that only add time
    result: str = ""  # Hash of the model's answer that was judged
    marks: dict[str, Mark] = field(default_factory=dict)
    alone: dict[str, Mark] | None = None  # The marks when the model's answer was revealed
    seen: bool = False  # Whether the reader has seen the model's answer
    note: str = ""
    finished: str = ""  # Time at which the case was finished. Empty if it is not.
    seconds: dict[str, float] = field(default_factory=lambda: {"without": 0.0, "with": 0.0})
    last_at: str = ""  # Time of the last action

    @property
    def next_id(self) -> str:
        """Id of the next lesion that the reader adds. Ids of removed ones are not used again."""
        return f"r{1 + max((int(m[1:]) for m in self.marks if m.startswith('r')), default=0)}"


def check_reader(name: str) -> str:
    """Return the name of a reader if it can be the name of a folder.

    Raises:
        UsageError: If it holds anything but letters, digits, spaces, ``.``, ``_`` and ``-``, or is
            longer than 64 characters.
    """
    if _READER.fullmatch(name) is None or _DEVICES.fullmatch(name):
        raise UsageError(
            "a reader's name of at most 64 letters, digits, spaces, dots and hyphens is required, "
            f"got {name!r}",
            argument="reader",
        )
    return name


def replayed(actions: Sequence[Action]) -> CaseState:
    """Add up the actions of one case, in their order."""
    state, done = CaseState(), list[Action]()
    for action in actions:
        state.seconds[action.arm] += action.seconds
        state.result, state.last_at = action.result, action.at
        state.seen = state.seen or action.arm == "with"
        state.revision += action.do != "time"
        if action.do == "undo":
            done.pop()
        elif action.do != "time":
            done.append(action)
    for action in done:
        state.finished = action.at if action.do == "finish" else ""
        if action.do == "reveal":
            state.alone = {name: mark for name, mark in state.marks.items() if not mark.removed}
        elif action.do == "note":
            state.note = action.note
        state.marks |= {mark.id: mark for mark in action.marks}
    return state


def _can_undo(actions: Sequence[Action]) -> bool:
    """Return whether there is an action to take back. What was revealed cannot be hidden again."""
    depth = 0
    for action in actions:
        if action.do == "reveal":
            depth = 0
        elif action.do == "undo":
            depth -= 1
        elif action.do != "time":
            depth += 1
    return depth > 0


class ReviewLog:
    """The actions of a reader, in a file to which lines are only added.

    One process holds the log at a time. Its threads take turns.

    Args:
        folder: Folder of the reader. It is made if it is missing.

    Raises:
        UsageError: If another process holds the log.
        UnreadableFile: If a line is damaged. A last line that was not written to its end, as a
            killed process leaves it, is taken off: nobody was told that it was done.
        OSError: If the file system refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        folder.mkdir(parents=True, exist_ok=True)
        self._turn = threading.RLock()
        self._lock = FileLock(folder / ".lock", blocking=False, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"the review in {folder} is open in another process; stop that one, or give "
                "another name of the reader",
                argument="reader",
            ) from None
        try:
            self._actions: dict[str, list[Action]] = {}
            for action in self._read():
                self._actions.setdefault(action.case, []).append(action)
            self._stream = self.path.open("ab", buffering=0)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._lock.release()

    def state(self, case: str) -> CaseState:
        """Return what the reader has said of a case."""
        with self._turn:
            return replayed(self._actions.get(case, ()))

    def can_undo(self, case: str) -> bool:
        """Return whether there is an action of the case to take back."""
        with self._turn:
            return _can_undo(self._actions.get(case, ()))

    def add(self, action: Action) -> CaseState:
        """Write an action to the disk, and return what the case adds up to then.

        Raises:
            StaleRevision: If the case has changed since the caller read it.
            InputRefused: If there is nothing to undo, or the model's answer has changed.
            OSError: If the file system refuses. Then the log is as before.
        """
        with self._turn:
            actions = self._actions.setdefault(action.case, [])
            state = replayed(actions)
            if action.do != "time" and action.revision != state.revision:
                raise StaleRevision(
                    f"case {action.case} was changed elsewhere (another tab?); look at it again "
                    "and repeat what you did"
                )
            if state.result not in ("", action.result):
                raise InputRefused(f"case {action.case} was reviewed on another result")
            if action.do == "undo" and not _can_undo(actions):
                raise InputRefused(f"nothing can be undone in case {action.case}")
            self._append(action.model_dump_json().encode() + b"\n")
            actions.append(action)
            return replayed(actions)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._stream.fileno()).st_size
        try:
            view = memoryview(line)
            while view:  # a nearly full disk takes a part
                view = view[self._stream.write(view) :]
            os.fsync(self._stream.fileno())
        except OSError:
            os.truncate(self.path, size)
            raise

    def _read(self) -> Iterator[Action]:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole, _, part = content.rpartition(b"\n")
        if part:
            os.truncate(self.path, len(content) - len(part))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                yield Action.model_validate_json(line)
            except ValidationError as error:
                raise UnreadableFile(
                    f"an action of a review is required in line {number} of {self.path}, got "
                    f"{line[:60]!r}; restore the file from a backup or remove the line"
                ) from error
