"""The one pipeline that runs a bundle on a scan."""

from cmbnet.predict.file import predict_file, record_of
from cmbnet.predict.pipeline import predict_prepared, predict_volume
from cmbnet.predict.prediction import InputRecord, NotAnalysable, Prediction, Refusal
from cmbnet.predict.request import PLAIN, DicomObject, Request

__all__ = [
    "PLAIN",
    "DicomObject",
    "InputRecord",
    "NotAnalysable",
    "Prediction",
    "Refusal",
    "Request",
    "predict_file",
    "predict_prepared",
    "predict_volume",
    "record_of",
]
