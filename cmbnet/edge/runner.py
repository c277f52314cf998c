"""The runner: from a complete study to its results. Only this module decides what runs.

A study runs if its images differ from those of its last result. This one rule makes late images
supersede an earlier result, ignores repeated images, and continues work after a restart.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from cmbnet.edge.events import Events
from cmbnet.edge.folders import Folders, make_folder
from cmbnet.edge.journal import Journal
from cmbnet.edge.objects import REPORT, objects_in
from cmbnet.edge.records import Finished, Outcome, ResultFile, Study
from cmbnet.edge.settle import Settle
from cmbnet.edge.spool import Snapshot, Spool
from cmbnet.edge.worker import Answer, Job, Worker, WorkerStopped

_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")


class Runner:
    """The step that gives one study after the other to the worker.

    Args:
        folders: Folders for results.
        journal: Journal of the studies.
        spool: Spool of the images.
        settle: Wait for complete studies, which is told of gaps.
        worker: The worker process.
        tries: Number of faults after which a study is given up.
        destinations: Names of the destinations of every result.
        events: Listeners of every run.
    """

    def __init__(
        self,
        folders: Folders,
        journal: Journal,
        spool: Spool,
        settle: Settle,
        worker: Worker,
        *,
        tries: int,
        destinations: Sequence[str],
        events: Events,
    ) -> None:
        self._folders = folders
        self._journal = journal
        self._spool = spool
        self._settle = settle
        self._worker = worker
        self._tries = tries
        self._destinations = destinations
        self._events = events

    def warm(self) -> None:
        """Make the first study as quick as the others."""
        self._worker.warm()

    def step(self) -> bool:
        """Run the study that waits longest. Return False if none waits or the disk is full.

        Studies run even if the node takes no more images, because a study must have a result to be
        purged.
        """
        self._journal.recover()  # we run one at a time: what is RUNNING now was cut off
        study = None if self._spool.exhausted else self._journal.take()
        if study is None:
            return False
        self._spool.restore(study.study)
        snapshot = self._spool.snapshot(study.study)
        if snapshot.digest == study.digest:
            self._journal.unchanged(study.study)
            self._settle.forget(study.study)
        elif not snapshot.names:
            gone = Finished("refused", snapshot.digest, 0, reason="its images left the disk")
            self._journal.finish(study.study, gone, self._destinations)
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
            if study.failures + 1 < self._tries:
                self._journal.try_again(study.study, reason)
            else:
                failed = Finished("failed", snapshot.digest, len(snapshot.names), reason=reason)
                self._journal.finish(study.study, failed, self._destinations)
        finally:
            self._spool.unlink()

    def _run(self, study: Study, snapshot: Snapshot) -> None:
        start = time.monotonic()
        patient = not self._settle.patience_over(study.study)
        answer = self._worker.run(self._job(study, snapshot, patient=patient))
        told = {"outcome": answer.outcome, "reason": answer.reason, "images": len(snapshot.names)}
        told |= {"run_s": time.monotonic() - start}
        self._events("study_run", study.study, **(answer.details | told))
        if answer.outcome == "incomplete":
            self._journal.postpone(study.study, answer.reason)
            self._settle.incomplete(study.study)
        elif answer.outcome != "fault":
            self._finish(study, snapshot, answer.outcome, answer)
        elif study.failures + 1 < self._tries:
            self._journal.try_again(study.study, answer.reason)
        else:
            self._give_up(study, snapshot, answer.reason)

    def _give_up(self, study: Study, snapshot: Snapshot, reason: str) -> None:
        """Report a study as failed, if possible, and put it aside."""
        failure = f"processing failed {self._tries} times: {reason}"
        answer = self._worker.run(self._job(study, snapshot, failure=failure))
        if self._finish(study, snapshot, "failed", Answer("refused", failure, answer.details)):
            self._spool.quarantine(study.study)

    def _job(
        self, study: Study, snapshot: Snapshot, *, patient: bool = False, failure: str = ""
    ) -> Job:
        """Make a job with fixed images and an empty folder of results."""
        out = self._out(study)
        shutil.rmtree(out, ignore_errors=True)  # of a run that was cut off
        make_folder(out.parent)
        make_folder(out)
        images, previous = self._spool.link(study.study, snapshot), self._previous(study.study)
        return Job(images, out, patient, failure, previous)

    def _previous(self, study: str) -> Dataset | None:
        """Return the UIDs for a reference to the last report of a study."""
        last = self._journal.last_result(study, REPORT)
        if last is None or not last.series_instance_uid:
            return None
        report = Dataset()
        report.StudyInstanceUID = study
        report.SeriesInstanceUID = last.series_instance_uid
        report.SOPClassUID = last.sop_class_uid
        report.SOPInstanceUID = last.sop_instance_uid
        return report

    def _out(self, study: Study) -> Path:
        return self._folders.results / study.study / str(study.run + 1)

    def _finish(self, study: Study, snapshot: Snapshot, outcome: Outcome, answer: Answer) -> bool:
        files = tuple(self._result_file(path) for path in objects_in(self._out(study)))
        finished = Finished(
            outcome,
            snapshot.digest,
            len(snapshot.names),
            files,
            reason=answer.reason,
            details=answer.details,
        )
        taken = self._journal.finish(study.study, finished, self._destinations)
        if taken:
            self._settle.forget(study.study)
        return taken

    def _result_file(self, path: Path) -> ResultFile:
        header = pydicom.dcmread(path, specific_tags=[*_UIDS])
        return ResultFile(
            str(header.SOPClassUID),
            str(header.SOPInstanceUID),
            str(path.relative_to(self._folders.results)),
            str(header.SeriesInstanceUID),
        )
