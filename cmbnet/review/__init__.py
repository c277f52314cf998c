"""A page on which a reader judges the lesions of result folders, and what comes out of it."""

from cmbnet.review.cohort import Cohort, open_cohort
from cmbnet.review.log import ReviewLog, check_reader
from cmbnet.review.plan import make_plan, read_plan, write_plan
from cmbnet.review.session import Session
from cmbnet.review.verdicts import Review

__all__ = [
    "Cohort",
    "Review",
    "ReviewLog",
    "Session",
    "check_reader",
    "make_plan",
    "open_cohort",
    "read_plan",
    "write_plan",
]
