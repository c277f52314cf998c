"""The reader study: how readers revise the output of the system, and how they agree."""

from cmbnet.evaluation.readers.sites import ReadCase, find_sites
from cmbnet.evaluation.readers.study import ReaderResult, StudyResult, analyse_study

__all__ = ["ReadCase", "ReaderResult", "StudyResult", "analyse_study", "find_sites"]
