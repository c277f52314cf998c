"""The one pipeline that runs a bundle on a scan."""

from cmbnet.predict.file import (
    STAGES,
    predict_file,
    read_as_asked,
    record_of,
    steps_of_file,
    steps_of_scan,
)
from cmbnet.predict.pipeline import predict_prepared, predict_volume, steps_of_volume
from cmbnet.predict.prediction import (
    Answer,
    InputRecord,
    NotAnalysable,
    Prediction,
    Refusal,
)
from cmbnet.predict.request import PLAIN, DicomObject, Request

__all__ = [
    "PLAIN",
    "STAGES",
    "Answer",
    "DicomObject",
    "InputRecord",
    "NotAnalysable",
    "Prediction",
    "Refusal",
    "Request",
    "predict_file",
    "predict_prepared",
    "predict_volume",
    "read_as_asked",
    "record_of",
    "steps_of_file",
    "steps_of_scan",
    "steps_of_volume",
]
