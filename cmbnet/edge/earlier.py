"""The patient's first study among those on the disk of the node, for a follow-up.

The journal knows patients by a keyed hash of their ID. Their dates are read from the images.
"""

from __future__ import annotations

from dataclasses import dataclass

from cmbnet.edge.folders import Folders
from cmbnet.edge.identify import ObjectReader
from cmbnet.edge.journal import Journal
from cmbnet.edge.pseudonyms import Pseudonyms
from cmbnet.edge.spool import Snapshot, Spool
from cmbnet.edge.worker import Earlier

_WHO = ("StudyDate", "PatientID", "IssuerOfPatientID")


@dataclass(eq=False)
class EarlierStudies:
    """Finds the study to compare another with."""

    folders: Folders  # Folders of images and results
    journal: Journal  # Journal with the pseudonyms of patients
    spool: Spool  # Spool of the images
    reader: ObjectReader  # Reader of headers
    names: Pseudonyms  # Maker of pseudonyms

    def patient(self, study: str, images: Snapshot) -> str:
        """Return the pseudonym of the patient of a study, or an empty one."""
        return self._who(study, images)[0]

    def first(self, study: str, images: Snapshot) -> Earlier | None:
        """Return the first of the patient's studies that has a result, and links to its images.

        Later changes count against it (ARIA-H is cumulative). Without dates there is none.
        """
        patient, date = self._who(study, images)
        found = []
        for other in self.journal.others_of(patient, study):
            kept = self.spool.snapshot(other.study)
            if kept.names and kept.digest == other.digest:  # else the result is of other images
                found.append((self._who(other.study, kept)[1], other, kept))
        before = [one for one in found if "" < one[0] < date]
        if not before:
            return None
        _, other, kept = min(before, key=lambda one: one[0])
        try:
            linked = self.spool.link(other.study, kept, "earlier")
        except OSError:  # it was purged meanwhile
            return None
        return Earlier(other.study, linked, self.folders.results / other.study / str(other.run))

    def _who(self, study: str, images: Snapshot) -> tuple[str, str]:
        """Return the patient's pseudonym and the date of a study."""
        try:
            values = self.reader.values(self.folders.spool / study / images.names[0], _WHO)
        except ValueError:
            return "", ""
        patient = self.names.patient(values["PatientID"], values["IssuerOfPatientID"])
        return patient, values["StudyDate"]
