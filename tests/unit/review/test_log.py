"""The log: what was said to be done is on the disk, whatever kills the process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.review.log import LOG, ReviewLog, StaleRevision, check_reader
from cmbnet.review.verdicts import Action, Mark


def action(revision: int, **changes: Any) -> Action:
    values: dict[str, Any] = {
        "case": "a", "do": "mark", "revision": revision, "at": f"2026-01-01T00:00:{revision:02}",
        "arm": "with", "seconds": 1.0, "result": "hash",
    }  # fmt: skip
    return Action(**(values | changes))


def judged(name: str, judgement: Any = "accept") -> tuple[Mark, ...]:
    return (Mark(id=name, judgement=judgement),)


def test_the_actions_add_up_and_are_found_again(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, marks=judged("1")))
        log.add(action(1, marks=judged("2", "uncertain")))
        log.add(action(0, case="b", do="note", note="dark"))
        log.add(action(2, do="time", seconds=4))
        log.add(action(2, marks=judged("1", "uncertain")))
        before = log.add(action(3, do="finish"))
    with ReviewLog(tmp_path) as again:
        state = again.state("a")
        assert state == before
        assert again.state("b").note == "dark"
    assert {name: mark.judgement for name, mark in state.marks.items()} == {
        "1": "uncertain", "2": "uncertain",
    }  # fmt: skip
    assert state.revision == 4
    assert state.seconds == {"with": 8.0, "without": 0.0}
    assert state.finished == "2026-01-01T00:00:03"


def test_undo_takes_back_one_action_after_the_other(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, marks=judged("1")))
        log.add(action(1, marks=judged("1", "uncertain")))
        log.add(action(2, do="finish"))
        assert log.add(action(3, do="undo")).finished == ""
        assert log.add(action(4, do="undo")).marks["1"].judgement == "accept"
        assert log.add(action(5, do="undo")).marks == {}
        with pytest.raises(InputRefused, match="nothing can be undone"):
            log.add(action(6, do="undo"))
        assert not log.can_undo("a")


def test_what_was_revealed_is_not_hidden_again(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, arm="without", marks=(Mark(id="r1", judgement="accept", voxels=(5,)),)))
        removed = Mark(id="r1", judgement="accept", voxels=(5,), removed=True)
        state = log.add(action(1, arm="without", do="reveal", marks=(*judged("1"), removed)))
        assert state.alone is not None
        assert list(state.alone) == ["r1"]
        assert not state.alone["r1"].removed
        assert state.marks["r1"].removed
        assert not log.can_undo("a")
        assert state.next_id == "r2"


def test_two_tabs_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, marks=judged("1")))
        with pytest.raises(StaleRevision, match="case a was changed elsewhere"):
            log.add(action(0, marks=judged("1", "uncertain")))
        assert log.state("a").marks["1"].judgement == "accept"


def test_a_case_keeps_to_one_result(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, marks=judged("1")))
        with pytest.raises(InputRefused, match="case a was reviewed on another result"):
            log.add(action(1, marks=judged("2"), result="other"))


def test_two_servers_do_not_share_a_log(tmp_path: Path) -> None:
    with (
        ReviewLog(tmp_path),
        pytest.raises(UsageError, match="is open in another process"),
        ReviewLog(tmp_path),
    ):
        pass
    with ReviewLog(tmp_path):
        pass


def test_a_line_that_a_kill_cut_off_is_taken_off(tmp_path: Path) -> None:
    with ReviewLog(tmp_path) as log:
        log.add(action(0, marks=judged("1")))
    with (tmp_path / LOG).open("ab") as stream:
        stream.write(b'{"case": "a", "do": "ma')
    with ReviewLog(tmp_path) as log:
        log.add(action(1, marks=judged("2")))
    with ReviewLog(tmp_path) as log:
        assert set(log.state("a").marks) == {"1", "2"}


def test_a_damaged_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("{}\n")
    with pytest.raises(UnreadableFile, match=r"line 1 of .*actions.jsonl.*restore the file"):
        ReviewLog(tmp_path)
    (tmp_path / LOG).unlink()
    with ReviewLog(tmp_path):  # the lock was given back
        pass


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from cmbnet.review.log import ReviewLog
from cmbnet.review.verdicts import Action, Mark
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with ReviewLog(Path({str(tmp_path)!r})) as log:
    mark = Mark(id="1", judgement="accept", note="x" * 1000)
    one = Action(case="a", do="mark", revision=0, at="now", arm="with", seconds=0, result="h",
                 marks=(mark,))
    log.add(one)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        log.add(one.model_copy(update={{"revision": 1}}))
    except OSError as error:
        print("refused", error.errno, log.state("a").revision, log.path.stat().st_size < 2000)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("refused 27 1 True")
    with ReviewLog(tmp_path) as log:
        assert log.state("a").revision == 1


KILLED = """
import sys
from pathlib import Path
from cmbnet.review.log import ReviewLog
from cmbnet.review.verdicts import Action, Mark
with ReviewLog(Path(sys.argv[1])) as log:
    while True:
        n = log.state("a").revision
        mark = Mark(id=str(n + 1), judgement="accept", note="x" * (n % 50) * 40)
        log.add(Action(case="a", do="mark", revision=n, at="now", arm="with", seconds=0,
                       result="h", marks=(mark,)))
        print(n + 1, flush=True)
"""


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    told = 0
    for kill in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.013 * kill)
            os.kill(process.pid, 9)
            told = max([told, *(int(line) for line in process.stdout if line.endswith("\n"))])
        with ReviewLog(tmp_path) as log:
            state = log.state("a")
        assert state.revision >= told
        assert set(state.marks) == {str(n + 1) for n in range(state.revision)}
    assert told > 4


@pytest.mark.parametrize("name", ["Ann", "J. Müller", "reader_2", "a", "x" * 64])
def test_names_of_readers(name: str) -> None:
    assert check_reader(name) == name


@pytest.mark.parametrize(
    "name", ["", "..", ".a", "../up", "a/b", "a\\b", "/etc", "a.", "a\nb", "CON", "nul.txt",
             "<b>", "=1", "x" * 65, "a\x00"],
)  # fmt: skip
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a reader's name of at most 64 letters"):
        check_reader(name)
