"""Many cases, one after the other or side by side: one bad case never stops the others."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, InputRefused, printable
from cmbnet.io import write_text_atomically
from cmbnet.io.ahead import ReadAhead
from cmbnet.io.bids import why_no_scan
from cmbnet.io.case import Case
from cmbnet.io.scan import nifti_stem, read_scan
from cmbnet.predict import NotAnalysable, predict_file, record_of
from cmbnet.report.html import refusal_html
from cmbnet.report.result import Request, Result
from cmbnet.report.tables import fault_row, summary_row, update_summary
from cmbnet.report.write import (
    REPORT,
    RESULT,
    DicomObject,
    clear_case,
    write_prediction,
    write_refusal,
)

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.io.scan import LoadedScan

SUMMARY = "summary.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How every case of a run is treated.

    Args:
        operating_point: Name of a set of thresholds of the bundle.
        backend: As it was asked for.
        frame: Image of 4D files, or None.
        series: Key or UID of the series of DICOM inputs, or None for the SWI.
        dicom_seg: Write ``seg.dcm`` of DICOM inputs.
        dicom_sr: Write ``sr.dcm`` of DICOM inputs.
        dicom_key_images: Write ``key-01.dcm``... of DICOM inputs.
        dicom_pdf: Write ``pdf.dcm`` of DICOM inputs.
        force: Answer on what is not analysable, too.
        save_probability: Write the probability map.
        overwrite: Run again what is finished.
    """

    operating_point: str = "default"
    backend: str = "auto"
    frame: int | None = None
    series: str | None = None
    dicom_seg: bool = False
    dicom_sr: bool = False
    dicom_key_images: bool = False
    dicom_pdf: bool = False
    force: bool = False
    save_probability: bool = False
    overwrite: bool = False

    @property
    def dicom(self) -> frozenset[DicomObject]:
        """The DICOM objects that are asked for."""
        asked: dict[DicomObject, bool] = {
            "seg": self.dicom_seg,
            "sr": self.dicom_sr,
            "key-images": self.dicom_key_images,
            "pdf": self.dicom_pdf,
        }
        return frozenset(name for name, wanted in asked.items() if wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case.

    Args:
        case: The case.
        status: "done", "skipped" (it was finished before), "refused" or "failed".
        result: What ``result.json`` holds, for done and skipped.
        reason: Why there is no result.
        report: The page of the result, for done and skipped.
    """

    case: Case
    status: Literal["done", "skipped", "refused", "failed"]
    result: Result | None = None
    reason: str = ""
    report: Path | None = None


def run_batch(
    cases: Sequence[Case],
    out_dir: Path,
    *,
    bundle: Bundle,
    backend: Backend,
    options: Options,
    jobs: int = 1,
    ahead: ReadAhead | None = None,
) -> Generator[Outcome, None, None]:
    """Run cases and keep ``summary.csv`` up to date.

    Args:
        cases: What to look at.
        out_dir: Gets a folder a case and the summary.
        bundle: The model.
        backend: Opened for it; shared by all jobs, which wait for one another there.
        options: How.
        jobs: Cases at a time.
        ahead: May have begun to read the first case.

    Yields:
        An outcome a case, as they come. Where the caller stops, no further case begins.

    Raises:
        UnreadableFile: If there is a summary that is none of ours; before any case.
        CmbnetError: If the summary cannot be written; after all cases.
    """
    summary = _Summary(out_dir / SUMMARY)
    summary.write()
    reading = ReadAhead(options.frame, options.series) if ahead is None else ahead
    runner = _Runner(out_dir, bundle, backend, options, reading)

    def run(case: Case) -> Outcome:
        outcome = runner.run(case)
        summary.add(_row(outcome))
        return outcome

    try:
        if jobs == 1:
            for case, following in zip(cases, [*cases[1:], None], strict=True):
                # Only what has no result is surely read: else it might be skipped.
                if following is not None and not (out_dir / following.name / RESULT).exists():
                    reading.begin(following.path)
                yield run(case)
        else:
            yield from _side_by_side(cases, run, jobs)
    finally:
        reading.close()
    summary.write()


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
    """``summary.csv``; rows that find no room wait for the next try, so that no case stops."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._waiting: list[dict[str, object]] = []

    def add(self, row: dict[str, object]) -> None:
        """Write a row, or keep it if the file system refuses."""
        with self._lock:
            self._waiting.append(row)
        with suppress(CmbnetError):
            self.write()

    def write(self) -> None:
        """Write the rows that wait.

        Raises:
            CmbnetError: If the file system refuses.
            UnreadableFile: If the file is there and is no such table.
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
    """Runs single cases; whatever goes wrong becomes the outcome."""

    out_dir: Path
    bundle: Bundle
    backend: Backend
    options: Options
    ahead: ReadAhead

    def run(self, case: Case) -> Outcome:
        """The outcome of a case."""
        outcome = self._attempt(case)
        return replace(outcome, reason=_scrubbed(outcome.reason, case))

    def _attempt(self, case: Case) -> Outcome:
        where = case.label if case.dicom else printable(str(case.path))
        try:
            return self._predict(case)
        except InputRefused as error:
            return Outcome(case=case, status="refused", reason=str(error))
        except CmbnetError as error:
            return Outcome(case=case, status="failed", reason=str(error))
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
        """What a fault of the file system says; of a DICOM input its files are not named."""
        file, said = error.filename, error.strerror or str(error)
        if file is not None and Path(file).is_relative_to(self.out_dir):
            return f"cannot write {file} ({said}); {_remedy(error)} and run again"
        return f"{where if case.dicom or file is None else printable(file)}: {said}"

    def _predict(self, case: Case) -> Outcome:
        folder, options = self.out_dir / case.name, self.options
        read = self.ahead.take(case.path) or partial(
            read_scan, case.path, frame=options.frame, series=options.series
        )
        try:
            request = _request(case, self.bundle, options)
            finished = None if options.overwrite else _finished(folder, request)
        except OSError:
            clear_case(folder)
            raise
        if finished is not None:
            return Outcome(case=case, status="skipped", result=finished, report=folder / REPORT)
        # However this ends, an earlier answer must not be taken for that to this request.
        clear_case(folder)
        try:
            result = self._answer(case, folder, request, read)
        except InputRefused as error:
            page = refusal_html(case.name, case.label, _scrubbed(str(error), case))
            write_text_atomically(folder / REPORT, page)
            raise
        return Outcome(case=case, status="done", result=result, report=folder / REPORT)

    def _answer(
        self, case: Case, folder: Path, request: Request, read: Callable[[], LoadedScan]
    ) -> Result:
        options = self.options
        if not options.force:
            _refuse_by_name(case)
        try:
            prediction = predict_file(
                case.path,
                self.bundle,
                self.backend,
                operating_point=options.operating_point,
                brain_mask=case.brain_mask,
                frame=options.frame,
                force=options.force,
                read=read,
            )
        except NotAnalysable as error:
            if options.dicom_sr:
                write_refusal(error.refusal, folder)
            raise
        return write_prediction(
            prediction,
            folder,
            save_probability=options.save_probability,
            dicom=options.dicom,
            case=case.name,
            request=request,
        )


def _scrubbed(reason: str, case: Case) -> str:
    """A reason without what names the patient of a DICOM input."""
    if not case.identifiers:
        return reason
    from cmbnet.io.dicom.privacy import scrub

    return scrub(reason, case.identifiers)


def _refuse_by_name(case: Case) -> None:
    stem = None if case.dicom else nifti_stem(case.path.name)
    why = None if stem is None else why_no_scan(stem)
    if why is not None:
        raise InputRefused(
            f"{case.path} is {why} by its name; a magnitude or SWI scan is required (--force reads "
            "it all the same)"
        )


def _remedy(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "free some space" if full else "make the output folder writable"


def _request(case: Case, bundle: Bundle, options: Options) -> Request:
    record = record_of(case.path, frame=options.frame, brain_mask=case.brain_mask)
    return Request(
        input_sha256=record.sha256,
        bundle_sha256=bundle.sha256,
        cmbnet=__version__,
        operating_point=options.operating_point,
        backend=options.backend,
        frame=options.frame,
        brain_mask_sha256=record.brain_mask_sha256,
        force=options.force,
        save_probability=options.save_probability,
        series=options.series,
        dicom_seg=options.dicom_seg,
        dicom_sr=options.dicom_sr,
        dicom_key_images=options.dicom_key_images,
        dicom_pdf=options.dicom_pdf,
    )


def _finished(folder: Path, request: Request) -> Result | None:
    """The result of an earlier run of the same request, if all its files are there."""
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
