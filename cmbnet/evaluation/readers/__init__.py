"""The reader study: readers revise the output of the system, and their agreement is measured."""

from cmbnet.evaluation.readers.sites import ReadCase, find_sites
from cmbnet.evaluation.readers.study import ReaderResult, StudyResult, analyse_study

__all__ = ["ReadCase", "ReaderResult", "StudyResult", "analyse_study", "find_sites"]
