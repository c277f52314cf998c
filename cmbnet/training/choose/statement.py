"""The sentences of a bundle about the scans that it was made from. They must be true."""

from __future__ import annotations

from cmbnet.bundle import Training
from cmbnet.bundle.manifest import ChosenOn
from cmbnet.data_kind import KINDS, DataKind

NO_PATIENT = "; no image of a patient was used"
PHANTOMS_ALONE = " Measured on phantoms only."
CHOSEN = " Operating points were chosen and measured on "


def statement(kind: DataKind) -> str:
    """Write the statement of a network that was trained and calibrated on one kind of data."""
    if kind == "phantoms":
        return f"Trained on digital phantoms only{NO_PATIENT}.{PHANTOMS_ALONE}"
    return f"Trained on {KINDS[kind]}.{CHOSEN}{KINDS[kind]}."


def continued(before: str, kind: DataKind) -> str:
    """Rewrite the statement of a bundle whose network was trained further on one kind of data."""
    if kind == "phantoms" and PHANTOMS_ALONE in before:
        return before
    text = _without_claims(before, kind)
    return f"{text} Trained further on {KINDS[kind]}.{CHOSEN}{KINDS[kind]}."


def _without_claims(before: str, kind: DataKind) -> str:
    """Return a statement without the scans of its points, and without what is no longer true."""
    text = before.split(CHOSEN)[0]
    if kind != "phantoms":
        text = text.replace(NO_PATIENT, "").replace(PHANTOMS_ALONE, "")
    return text


def is_of_patients(kind: DataKind) -> bool:
    """Return whether a kind of data holds images of patients."""
    return kind in ("patients", "mixed")


def calibrated(before: Training, chosen_on: ChosenOn, name: str) -> Training:
    """Rewrite the statement of a bundle whose operating points were chosen anew.

    `chosen_on` is the kind of the scans of the new points, `name` their name.
    """
    kind = chosen_on.data_kind
    text = _without_claims(before.statement, kind)
    if PHANTOMS_ALONE not in text:
        text += f"{CHOSEN}{KINDS[kind]}."
    line = f"operating points: {len(chosen_on.scans)} scans, {KINDS[kind]} ({name})"
    values = {
        "statement": text,
        "real_patient_data": before.real_patient_data or is_of_patients(kind),
        "data": (*before.data, line),
        "chosen_on": chosen_on,
    }
    return before.model_copy(update=values)
