"""A quick stand-in for the network; light to import, for every worker process does so."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from cmbnet.edge.worker import Answer, Job

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


def uid_of(name: str) -> str:
    return f"2.25.{uuid.UUID(hashlib.md5(name.encode()).hexdigest()).int}"


def save(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


@dataclass
class FakeProcessor:
    """Writes an SR and a SEG named by the images, as the real one does, in no time.

    Args:
        seconds: It takes.
        misbehave: On studies of a patient of this ID it dies, hangs, or raises.
        needs: Images without which a study has gaps.
    """

    seconds: float = 0.0
    misbehave: Literal["", "die", "hang", "raise", "eat"] = ""
    needs: int = 1

    def open(self) -> None:
        pass

    def __call__(self, job: Job) -> Answer:
        images = sorted(job.images.iterdir())
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in images]
        time.sleep(self.seconds)
        if str(headers[0].PatientID).startswith("poison") and not job.failure:
            self._misbehave()
        if len(headers) < self.needs and job.patient:
            return Answer("incomplete", f"{len(headers)} of {self.needs} slices are here")
        names = sorted(str(header.SOPInstanceUID) for header in headers)
        before = "" if job.previous is None else str(job.previous.SOPInstanceUID)
        header = headers[0]
        person = (header.PatientID, header.PatientName, header.get("PatientBirthDate", ""))
        key = "/".join((*names, job.failure, *map(str, person), before))
        for role, sop_class in (("seg", SEG_CLASS), ("sr", SR_CLASS)):
            if role == "sr" or not job.failure:
                result = _result(headers[0], f"{role}/{key}", sop_class)
                result.TextValue = before
                save(result, job.out / f"{role}.dcm")
        return Answer("done", details={"lesions": 1})

    def _misbehave(self) -> None:
        if self.misbehave == "die":
            os.kill(os.getpid(), 9)
        elif self.misbehave == "hang":
            time.sleep(1000)
        elif self.misbehave == "eat":
            hoard = [bytearray(64 << 20) for _ in range(1000)]
            raise RuntimeError(len(hoard))
        elif self.misbehave == "raise":
            raise ValueError("PHANTOM^EDGE is named here")


def _result(header: Dataset, name: str, sop_class: str) -> Dataset:
    result = Dataset()
    result.SOPClassUID = sop_class
    result.SOPInstanceUID = uid_of(name)
    result.StudyInstanceUID = header.StudyInstanceUID
    result.SeriesInstanceUID = uid_of(f"{name}/series")
    result.PatientID, result.PatientName = header.PatientID, header.PatientName
    result.Modality = "SEG" if sop_class == SEG_CLASS else "SR"
    return result
