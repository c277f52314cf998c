"""The work on a study: find the SWI, find microbleeds, write the objects to send."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.worker import Answer, Earlier, Job
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile
from cmbnet.threads import finished

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.io.dicom import DicomSource, Examination
    from cmbnet.io.scan import LoadedScan
    from cmbnet.predict import Prediction
    from cmbnet.report.dicom import DicomResult


@dataclass(slots=True)
class StudyProcessor:
    """The processor of a node."""

    settings: WorkerSettings  # Settings of model, backend and operating point
    _model: tuple[Bundle, Backend] | None = field(default=None, repr=False)

    def open(self) -> None:
        """Load the model.

        Raises:
            CmbnetError: If it cannot be loaded, or has no such operating point.
        """
        from cmbnet.backends import open_backend
        from cmbnet.backends.measure import measure_once
        from cmbnet.bundle import load_bundle

        bundle = load_bundle(self.settings.bundle)
        bundle.operating_point(self.settings.operating_point)
        if self.settings.backend == "auto":
            measure_once(bundle, threads=self.settings.threads)
        backend = open_backend(bundle, self.settings.backend, threads=self.settings.threads)
        self._model = bundle, backend

    def __call__(self, job: Job) -> Answer:
        """See `cmbnet.edge.worker.Processor`."""
        from cmbnet.io.dicom import read_dicom_study
        from cmbnet.io.scan import LoadedScan

        if job.failure:
            return self._report_failure(job, job.failure)
        start = time.perf_counter()
        try:
            read = read_dicom_study(job.images, phase=self.settings.request.phase_series)
        except (InputRefused, UnreadableFile) as refused:
            return self._unreadable(job, str(refused))
        return self._predict(job, LoadedScan(*read), read[1], start)

    def _predict(self, job: Job, scan: LoadedScan, source: DicomSource, start: float) -> Answer:
        from cmbnet.io.digest import content_sha256
        from cmbnet.predict import InputRecord, NotAnalysable, steps_of_scan
        from cmbnet.report.dicom import result_of_refusal, write_dicom_results
        from cmbnet.report.write import write_finished, write_objects

        bundle, backend = self._opened()
        followed = self.settings.follow_up
        record = InputRecord(sha256=content_sha256(job.images) if followed else "", dicom=source)
        read_s = time.perf_counter() - start
        try:
            prediction = finished(
                steps_of_scan(scan, bundle, backend, self.settings.request, record=record)
            )
        except NotAnalysable as refused:
            result = replace(result_of_refusal(refused.refusal), previous=job.previous)
            write_dicom_results(result, source, job.out, seg=False)
            findings = refused.refusal.quality.findings
            remarks = [one.message for one in findings if one.severity == "refuse"]
            return Answer("refused", f"not analysable: {'; '.join(remarks)}", _series(source))
        written = time.perf_counter()
        if followed:
            write_finished(prediction, job.out)
        prediction, content = _compared(prediction, job.earlier)
        write_objects(prediction, job.out, content=replace(content, previous=job.previous))
        seconds = {
            "read": round(read_s, 3),
            **prediction.timings_s,
            "write": round(time.perf_counter() - written, 3),
        }
        details: dict[str, Any] = {"lesions": len(prediction.found.lesions), "seconds": seconds}
        if content.time_point is not None:
            details["new_lesions"] = content.time_point.new
        return Answer("done", details=details | _series(source))

    def _unreadable(self, job: Job, reason: str) -> Answer:
        """Answer for a study without SWI, or with gaps that later images may fill."""
        from cmbnet.io.dicom import ImageKind, examine_dicom

        try:
            examination: Examination | None = examine_dicom(job.images)
        except CmbnetError:
            examination = None
        verdicts = () if examination is None else examination.verdicts
        broken = [one for one in verdicts if one.kind is ImageKind.SWI and not one.readable]
        if not broken:
            return Answer("refused", reason)
        if job.patient:
            return Answer("incomplete", reason)
        return self._report_failure(job, broken[0].reasons, broken[0].series_instance_uid)

    def _report_failure(self, job: Job, reason: str, series: str = "") -> Answer:
        """Write the SR that says that there is no answer, if that is possible."""
        from cmbnet.edge.failed import write_failure

        bundle, _ = self._opened()
        try:
            write_failure(job, reason, bundle=bundle, series=series)
        except CmbnetError as error:
            return Answer("refused", f"{reason}; no report of it could be written: {error}")
        return Answer("refused", reason)

    def _opened(self) -> tuple[Bundle, Backend]:
        if self._model is None:
            self.open()
        if self._model is None:
            raise CmbnetError("the model was not loaded")
        return self._model


def _compared(prediction: Prediction, earlier: Earlier | None) -> tuple[Prediction, DicomResult]:
    """Make the content of the objects, with the changes since an earlier study, or the reason."""
    from cmbnet.report.dicom import result_of

    if earlier is None:
        return prediction, result_of(prediction)
    from cmbnet.followup import compare_scans
    from cmbnet.followup.objects import contents_of
    from cmbnet.predict.phase import remarked
    from cmbnet.preprocess import Finding
    from cmbnet.report.finished import read_answer

    try:
        before = read_answer(earlier.result, prediction.bundle, scans=earlier.images)
        compared = compare_scans([before, prediction])
    except CmbnetError as error:
        said = str(error).replace(str(earlier.result), "its result")
        said = said.replace(str(earlier.images), "its images")
        reason = f"not compared with the scan of study {earlier.study}: {said}"
        prediction = remarked(prediction, Finding("not_compared", "warning", reason))
        return prediction, result_of(prediction)
    return prediction, contents_of(compared)[1]


def _series(source: DicomSource) -> dict[str, Any]:
    """Describe the images for the status page by numbers and kinds, which name nobody."""
    return {
        "images": len(source.headers),
        "series": source.verdict.key,
        "shape": list(source.verdict.shape or ()),
    }
