"""The output of a prediction: masks, tables, ``result.json`` and a page to read."""

from cmbnet.report.result import RecordedRequest, Result
from cmbnet.report.tables import fault_row, summary_row, update_summary
from cmbnet.report.write import write_prediction, write_refusal

__all__ = [
    "RecordedRequest",
    "Result",
    "fault_row",
    "summary_row",
    "update_summary",
    "write_prediction",
    "write_refusal",
]
