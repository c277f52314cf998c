"""The runner: from a complete study to its results. Only this module decides what runs.

A study runs if its images differ from those of its last result. This one rule makes late images
supersede an earlier result, ignores repeated images, and continues work after a restart.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from cmbnet.edge.earlier import EarlierStudies
from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders, make_folder
from cmbnet.edge.journal import Journal
from cmbnet.edge.records import Finished, Outcome, ResultFile, Study
from cmbnet.edge.settle import SettleTimer
from cmbnet.edge.spool import Snapshot, Spool
from cmbnet.edge.worker import Answer, Job, Worker, WorkerStopped

_REPORT = "sr.dcm"
_SENT_FIRST = ("seg.dcm", _REPORT)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")


@dataclass(eq=False)
class Runner:
    """The step that gives one study after the other to the worker."""

    folders: Folders  # Folders for results
    journal: Journal  # Journal of the studies
    spool: Spool  # Spool of the images
    settle: SettleTimer  # Wait for complete studies, which is told of gaps
    worker: Worker  # The worker process
    _: KW_ONLY
    tries: int  # Number of faults after which a study is given up
    destinations: Sequence[str]  # Names of the destinations of every result
    events: Events  # Listeners of every run
    earlier: EarlierStudies | None = None  # Finder of earlier studies. None compares nothing.

    def warm(self) -> None:
        """Make the first study as quick as the others."""
        self.worker.warm()

    def step(self) -> bool:
        """Run the study that waits longest. Return False if none waits or the disk is full.

        Studies run even if the node takes no more images, because a study must have a result to be
        purged.
        """
        self.journal.recover()  # we run one at a time: what is RUNNING now was cut off
        study = None if self.spool.exhausted else self.journal.take()
        if study is None:
            return False
        self.spool.restore(study.study)
        snapshot = self.spool.snapshot(study.study)
        if snapshot.digest == study.digest:
            self.journal.unchanged(study.study)
            self.settle.forget(study.study)
        elif not snapshot.names:
            gone = Finished("refused", snapshot.digest, 0, reason="its images left the disk")
            self.journal.finish(study.study, gone, self.destinations)
        else:
            self._guarded(study, snapshot)
        return True

    def _guarded(self, study: Study, snapshot: Snapshot) -> None:
        """Run a study. A fault of the node itself counts like one of the worker."""
        try:
            self._run(study, snapshot)
        except WorkerStopped:
            raise
        except Exception as error:
            reason = f"unexpected {type(error).__name__} in the node"
            if study.failures + 1 < self.tries:
                self.journal.try_again(study.study, reason)
            else:
                failed = Finished("failed", snapshot.digest, len(snapshot.names), reason=reason)
                self.journal.finish(study.study, failed, self.destinations)
        finally:
            self.spool.unlink()

    def _run(self, study: Study, snapshot: Snapshot) -> None:
        start = time.monotonic()
        patient = not self.settle.patience_over(study.study)
        answer = self.worker.run(self._job(study, snapshot, patient=patient))
        told = {"outcome": answer.outcome, "reason": answer.reason, "images": len(snapshot.names)}
        told |= {"run_s": time.monotonic() - start}
        self.events("study_run", study.study, **(answer.details | told))
        if answer.outcome == "incomplete":
            self.journal.postpone(study.study, answer.reason)
            self.settle.incomplete(study.study)
        elif answer.outcome != "fault":
            self._finish(study, snapshot, answer.outcome, answer)
        elif study.failures + 1 < self.tries:
            self.journal.try_again(study.study, answer.reason)
        else:
            self._give_up(study, snapshot, answer.reason)

    def _give_up(self, study: Study, snapshot: Snapshot, reason: str) -> None:
        """Report a study as failed, if possible, and put it aside."""
        failure = f"processing failed {self.tries} times: {reason}"
        answer = self.worker.run(self._job(study, snapshot, failure=failure))
        if self._finish(study, snapshot, "failed", Answer("refused", failure, answer.details)):
            self.spool.quarantine(study.study)

    def _job(
        self, study: Study, snapshot: Snapshot, *, patient: bool = False, failure: str = ""
    ) -> Job:
        """Make a job with fixed images and an empty folder of results."""
        out = self._out(study)
        shutil.rmtree(out, ignore_errors=True)  # of a run that was cut off
        make_folder(out.parent)
        make_folder(out)
        images, previous = self.spool.link(study.study, snapshot), self._previous(study.study)
        earlier = None
        if self.earlier and not failure and not study.failures:  # it may have failed on that study
            earlier = self.earlier.first(study.study, snapshot)
        return Job(images, out, patient, failure, previous, earlier)

    def _previous(self, study: str) -> Dataset | None:
        """Return the UIDs for a reference to the last report of a study."""
        last = self.journal.last_result(study, _REPORT)
        if last is None or not last.series_instance_uid:
            return None
        report = Dataset()
        report.StudyInstanceUID = study
        report.SeriesInstanceUID = last.series_instance_uid
        report.SOPClassUID = last.sop_class_uid
        report.SOPInstanceUID = last.sop_instance_uid
        return report

    def _out(self, study: Study) -> Path:
        return self.folders.results / study.study / str(study.run + 1)

    def _finish(self, study: Study, snapshot: Snapshot, outcome: Outcome, answer: Answer) -> bool:
        files = tuple(self._result_file(path) for path in objects_in(self._out(study)))
        finished = Finished(
            outcome,
            snapshot.digest,
            len(snapshot.names),
            files,
            reason=answer.reason,
            details=answer.details,
            patient=self.earlier.patient(study.study, snapshot) if self.earlier else "",
        )
        taken = self.journal.finish(study.study, finished, self.destinations)
        if taken:
            self.settle.forget(study.study)
        return taken

    def _result_file(self, path: Path) -> ResultFile:
        header = pydicom.dcmread(path, specific_tags=[*_UIDS])
        return ResultFile(
            str(header.SOPClassUID),
            str(header.SOPInstanceUID),
            str(path.relative_to(self.folders.results)),
            str(header.SeriesInstanceUID),
        )


def objects_in(folder: Path) -> list[Path]:
    """Return the objects to send: the segmentation, then the report, then the others."""
    found = {path.name: path for path in sorted(folder.glob("*.dcm"))}
    first = [found.pop(name) for name in _SENT_FIRST if name in found]
    return [*first, *found.values()]
