"""Run many cases, overlapping or side by side. A bad case never stops the others."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import CmbnetError, InputRefused, printable
from cmbnet.io import write_text_atomically
from cmbnet.io.bids import why_no_scan
from cmbnet.io.case import Case
from cmbnet.io.scan import nifti_stem
from cmbnet.predict import STAGES, InputRecord, NotAnalysable, Request, record_of, steps_of_file
from cmbnet.report.html import refusal_html
from cmbnet.report.result import RecordedRequest, Result, recorded
from cmbnet.report.tables import fault_row, summary_row, update_summary
from cmbnet.report.write import REPORT, RESULT, clear_case, write_prediction, write_refusal
from cmbnet.threads import Steps, finished, in_stages

if TYPE_CHECKING:
    from filelock import FileLock

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.io.read_ahead import ReadAhead
    from cmbnet.io.scan import LoadedScan

SUMMARY = "summary.csv"
LOCKS = ".locks"
"""Folder of empty files, one a case, that keep two runs on one folder out of each other's way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a case."""

    case: Case  # The case
    # "done", "skipped" (it was finished before), "refused" or "failed".
    status: Literal["done", "skipped", "refused", "failed"]
    result: Result | None = None  # What ``result.json`` holds, for done and skipped
    reason: str = ""  # Why there is no result
    argument: str = ""  # Name of the field of the request by which the caller can decide otherwise
    report: Path | None = None  # The page of the result, for done and skipped


def run_batch(
    cases: Sequence[Case],
    out_dir: Path,
    *,
    bundle: Bundle,
    backend: Backend,
    request: Request,
    overwrite: bool = False,
    jobs: int = 1,
    read_ahead: ReadAhead | None = None,
) -> Generator[Outcome, None, None]:
    """Run cases and keep ``summary.csv`` up to date.

    Args:
        cases: The cases.
        out_dir: Folder to write to. It gets a folder for each case, and the summary.
        bundle: The model.
        backend: A backend that is open for this bundle. All jobs share it and take turns.
        request: The options of every case.
        overwrite: Whether to run finished cases again.
        jobs: Number of cases at a time. If 1, the stages of neighbouring cases overlap.
        read_ahead: A reader that may have begun to read the first case.

    Yields:
        The outcome of each case when it is known; in order if jobs is 1. If the caller stops, no
        further case begins.

    Raises:
        UnreadableFile: If the folder has a summary of another form. Then no case is run.
        CmbnetError: If the summary cannot be written. This is raised after all cases.
    """
    summary = _Summary(out_dir / SUMMARY)
    summary.write()
    runner = _Runner(out_dir, bundle, backend, request, overwrite, read_ahead)
    try:
        yield from _run(cases, runner, jobs, lambda outcome: summary.add(_row(outcome)))
    finally:
        if read_ahead is not None:
            read_ahead.close()
    summary.write()


def run_cases(
    cases: Sequence[Case],
    out_dir: Path,
    *,
    bundle: Bundle,
    backend: Backend,
    request: Request,
    overwrite: bool = False,
    jobs: int = 1,
) -> Generator[Outcome, None, None]:
    """Do the same without a summary, which many processes would have to write in turns."""
    runner = _Runner(out_dir, bundle, backend, request, overwrite, read_ahead=None)
    yield from _run(cases, runner, jobs, lambda outcome: None)


def _run(
    cases: Sequence[Case], runner: _Runner, jobs: int, note: Callable[[Outcome], None]
) -> Iterator[Outcome]:
    """Run cases, and note each outcome at once: the caller may not take what is finished."""

    def steps(case: Case) -> Steps[Outcome]:
        outcome = yield from runner.steps(case)
        note(outcome)
        return outcome

    if jobs == 1:
        yield from in_stages(map(steps, cases), stages=STAGES)
    else:
        yield from _side_by_side(cases, lambda case: finished(steps(case)), jobs)


def _side_by_side(
    cases: Sequence[Case], run: Callable[[Case], Outcome], jobs: int
) -> Iterator[Outcome]:
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="case")
    try:
        for future in as_completed([pool.submit(run, case) for case in cases]):
            yield future.result()
    finally:  # on Ctrl-C, too: what runs is finished, what waits is not begun
        pool.shutdown(cancel_futures=True)


class _Summary:
    """``summary.csv``. Rows that cannot be written wait for the next try, so no case stops."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._waiting: list[dict[str, object]] = []

    def add(self, row: dict[str, object]) -> None:
        """Write a row, or keep it for later if the file system refuses."""
        with self._lock:
            self._waiting.append(row)
        with suppress(CmbnetError):
            self.write()

    def write(self) -> None:
        """Write the rows that wait.

        Raises:
            CmbnetError: If the file system refuses.
            UnreadableFile: If the file is another table.
        """
        with self._lock:
            try:
                update_summary(self._path, self._waiting)
            except OSError as error:
                raise CmbnetError(
                    f"cannot write {self._path} ({error.strerror or error}); {_remedy(error)} "
                    "and run again: finished cases are skipped"
                ) from error
            self._waiting.clear()


@dataclass(frozen=True, slots=True)
class _Runner:
    """A runner of single cases. Whatever goes wrong becomes the outcome."""

    out_dir: Path
    bundle: Bundle
    backend: Backend
    request: Request
    overwrite: bool
    read_ahead: ReadAhead | None

    def steps(self, case: Case) -> Steps[Outcome]:
        """Run a case, in at most `STAGES` stages, and return its outcome."""
        outcome = yield from self._attempt(case)
        return replace(outcome, reason=case.scrubbed(outcome.reason))

    def _attempt(self, case: Case) -> Steps[Outcome]:
        where = case.label if case.dicom else printable(str(case.path))
        try:
            with alone_with(self.out_dir, case.name):
                return (yield from self._predict(case))
        except InputRefused as error:
            return Outcome(case=case, status="refused", reason=str(error), argument=error.argument)
        except CmbnetError as error:
            return Outcome(case=case, status="failed", reason=str(error), argument=error.argument)
        except MemoryError:
            return Outcome(case=case, status="failed", reason=f"{where}: not enough memory")
        except OSError as error:
            return Outcome(case=case, status="failed", reason=self._said(error, where, case))
        except Exception as error:  # a fault of ours must not cost the cases that follow
            # What a library says of a DICOM file may quote it.
            said = "" if case.dicom else f": {error}"
            reason = f"{where}: unexpected {type(error).__name__}{said}; please report this"
            return Outcome(case=case, status="failed", reason=reason)

    def _said(self, error: OSError, where: str, case: Case) -> str:
        """Word a fault of the file system. It does not name the files of a DICOM input."""
        file, said = error.filename, error.strerror or str(error)
        if file is not None and Path(file).is_relative_to(self.out_dir):
            return f"cannot write {file} ({said}); {_remedy(error)} and run again"
        return f"{where if case.dicom or file is None else printable(file)}: {said}"

    def _predict(self, case: Case) -> Steps[Outcome]:
        folder, request = self.out_dir / case.name, self.request
        read = None if self.read_ahead is None else self.read_ahead.take(case.path)
        try:
            asked = recorded(request, _record(case), self.bundle)
            finished = None if self.overwrite else _finished(folder, asked)
        except OSError:
            clear_case(folder)
            raise
        if finished is not None:
            return Outcome(case=case, status="skipped", result=finished, report=folder / REPORT)
        # However this ends, an earlier answer must not be taken for that to this request.
        clear_case(folder)
        try:
            result = yield from self._answer(case, folder, request, read)
        except InputRefused as error:
            page = refusal_html(case.name, case.label, case.scrubbed(str(error)))
            write_text_atomically(folder / REPORT, page)
            raise
        return Outcome(case=case, status="done", result=result, report=folder / REPORT)

    def _answer(
        self, case: Case, folder: Path, request: Request, read: Callable[[], LoadedScan] | None
    ) -> Steps[Result]:
        if not request.force:
            _refuse_by_name(case)
        try:
            prediction = yield from steps_of_file(
                case.path,
                self.bundle,
                self.backend,
                request,
                brain_mask=case.brain_mask,
                phase=case.phase,
                read=read,
            )
        except NotAnalysable as error:
            if request.dicom_sr:
                write_refusal(error.refusal, folder)
            raise
        return write_prediction(prediction, folder, case=case.name)


def alone_with(out_dir: Path, name: str) -> FileLock:
    """Wait until no other process or thread works on a case. The end of a process frees it."""
    from filelock import FileLock

    locks = out_dir / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    # Each stage of a case runs in a thread of its own.
    return FileLock(locks / name, thread_local=False)


def _record(case: Case) -> InputRecord:
    return record_of(case.path, brain_mask=case.brain_mask, phase=case.phase)


def _refuse_by_name(case: Case) -> None:
    stem = None if case.dicom else nifti_stem(case.path.name)
    why = None if stem is None else why_no_scan(stem)
    if why is not None:
        raise InputRefused(
            f"{case.path} is {why} by its name; a magnitude or SWI scan is required",
            argument="force",
        )


def _remedy(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "free some space" if full else "make the output folder writable"


def _finished(folder: Path, request: RecordedRequest) -> Result | None:
    """Return the result of an earlier run of the same request, if all its files are there."""
    try:
        text = (folder / RESULT).read_bytes()
        if json.loads(text).get("request") != request.model_dump(mode="json"):
            return None
        result = Result.model_validate_json(text)
    except (OSError, ValueError, AttributeError):
        return None  # not there, or not ours: it is made anew
    return result if all((folder / name).is_file() for name in result.files) else None


def _row(outcome: Outcome) -> dict[str, object]:
    if outcome.result is not None:
        return summary_row(outcome.result)
    return fault_row(
        outcome.case.name,
        status="refused" if outcome.status == "refused" else "failed",
        file=outcome.case.label,
        reason=outcome.reason,
        notice=RESEARCH_USE_ONLY,
    )
