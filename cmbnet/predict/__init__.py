"""The one pipeline that runs a bundle on a scan."""

from cmbnet.predict.file import predict_file, record_of
from cmbnet.predict.pipeline import predict_prepared, predict_volume
from cmbnet.predict.prediction import InputRecord, NotAnalysable, Prediction, Refusal

__all__ = [
    "InputRecord",
    "NotAnalysable",
    "Prediction",
    "Refusal",
    "predict_file",
    "predict_prepared",
    "predict_volume",
    "record_of",
]
