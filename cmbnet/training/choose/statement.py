"""The sentences of a bundle about what it has seen: they must hold for what was really done."""

from __future__ import annotations

from cmbnet.bundle import Training
from cmbnet.bundle.manifest import ChosenOn
from cmbnet.data_kind import KINDS, DataKind

NO_PATIENT = "; no image of a patient was used"
PHANTOMS_ALONE = " Measured on phantoms only."
CHOSEN = " Operating points were chosen and measured on "


def statement(kind: DataKind) -> str:
    """What is said of a network that was trained, and whose points were chosen, on one kind."""
    if kind == "phantoms":
        return f"Trained on digital phantoms only{NO_PATIENT}.{PHANTOMS_ALONE}"
    return f"Trained on {KINDS[kind]}.{CHOSEN}{KINDS[kind]}."


def is_of_patients(kind: DataKind) -> bool:
    """Whether images of patients are among data of a kind."""
    return kind in ("patients", "mixed")


def calibrated(before: Training, chosen_on: ChosenOn, name: str) -> Training:
    """What is said of a bundle whose operating points were chosen anew.

    Args:
        before: What it said.
        chosen_on: The scans of the new points.
        name: What they are called.
    """
    kind = chosen_on.data_kind
    text = before.statement.split(CHOSEN)[0]
    if kind != "phantoms":
        text = text.replace(NO_PATIENT, "").replace(PHANTOMS_ALONE, "")
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
