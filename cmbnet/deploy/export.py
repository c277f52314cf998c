"""Export a bundle: convert, judge, write. What fails the gate is marked and fails the export."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cmbnet.backends import Backend, open_backend
from cmbnet.backends.base import Shape
from cmbnet.bundle import Artefact, Bundle, NewArtefact, add_artefacts, load_bundle
from cmbnet.bundle.bundle import DEFAULT_FOLDER
from cmbnet.deploy.bundles import as_new, copy_bundle
from cmbnet.deploy.convert import Converter, ExportPlan
from cmbnet.deploy.gate import (
    GateCase,
    GateResult,
    ParityFailed,
    compare_predictions,
    gate_predictions,
    limits_of,
)
from cmbnet.deploy.savedmodel import open_savedmodel
from cmbnet.deploy.source import open_reference
from cmbnet.errors import CmbnetError, UsageError
from cmbnet.predict import Prediction

NOT_RUN = "not run"
Report = Callable[[str], None]


class CannotWrite(CmbnetError):
    """The file system refuses to take an export."""


def export_bundle(
    bundle: Bundle,
    output: Path | None,
    plan: ExportPlan,
    *,
    allow_failure: bool = False,
    report: Report,
) -> Bundle:
    """Add the artefacts of a plan to a bundle, or to a copy of it.

    Everything is made and judged beside the target, which changes only at the end.

    Args:
        bundle: Holds the Keras network.
        output: Folder of a copy, new or empty; None adds to the bundle itself.
        plan: What to make.
        allow_failure: Keep going, and say so in the bundle, if the gate fails.
        report: Receives what was done, line by line.

    Returns:
        The bundle with its new artefacts.

    Raises:
        UsageError: If the output is not empty, or the default bundle would be changed.
        ParityFailed: If an artefact failed its gate; it was written, and marked as failed.
        CannotWrite: If the file system refuses.
    """
    _require_place(bundle, output)
    try:
        with tempfile.TemporaryDirectory(dir=_beside(bundle, output), prefix=".export-") as folder:
            converter = Converter(bundle, plan, report)
            made = list(converter.artefacts())
            staged = add_artefacts(copy_bundle(bundle, Path(folder) / "staged"), made)
            names = {new.file for new in made}
            fresh = [a for a in staged.manifest.artefacts if a.file in names]
            judge = Judge(staged, plan.samples.judged(), report)
            judged = [_judged(staged, a, judge.verdict(a), allow_failure) for a in fresh]
        target = bundle if output is None else copy_bundle(bundle, output)
        done = add_artefacts(target, judged)
    except OSError as error:
        raise CannotWrite(
            f"{output or bundle.path} cannot be written ({error}); nothing was changed there"
        ) from error
    failed = [new.file for new in judged if new.parity.get("passed") is False]
    if failed and not allow_failure:
        raise ParityFailed(
            f"the parity gate failed for {', '.join(failed)}, which {done.path} marks; "
            "--allow-parity-failure accepts it"
        )
    return done


def _require_place(bundle: Bundle, output: Path | None) -> None:
    if output is None:
        if bundle.path.resolve() == DEFAULT_FOLDER.resolve():
            raise UsageError("the bundle in the package is not changed; give -o FOLDER for a copy")
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"a new or empty folder is required for the export, got {output}")


def _beside(bundle: Bundle, output: Path | None) -> Path:
    """Where to stage: the file system of the target, so that too little space shows early."""
    folder = bundle.path.parent if output is None else output.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _judged(
    staged: Bundle, artefact: Artefact, parity: dict[str, float | bool | str], allowed: bool
) -> NewArtefact:
    if parity["passed"] is False and allowed:
        parity = {**parity, "failure_allowed": True}
    return as_new(staged, artefact, parity)


class Judge:
    """Runs the gate on artefacts of a bundle; Keras runs once for each shape.

    Args:
        bundle: Holds the Keras network and what is judged.
        cases: Scans to judge on.
        report: Receives each verdict.
    """

    def __init__(self, bundle: Bundle, cases: Sequence[GateCase], report: Report) -> None:
        self._bundle = bundle
        self._cases = cases
        self._report = report
        self._references: dict[tuple[Shape, ...], list[Prediction]] = {}

    def verdict(self, artefact: Artefact) -> dict[str, float | bool | str]:
        """The manifest's ``parity`` of an artefact."""
        if artefact.kind == "tensorrt":
            from cmbnet.deploy.tensorrt import gpu_fault

            if fault := gpu_fault():
                self._report(f"{artefact.file}: parity not run, there is no GPU here ({fault})")
                return {"passed": NOT_RUN, "reason": f"no GPU where it was built: {fault}"}
        values: dict[str, float | bool | str] = {}
        for runtime in _runtimes(artefact):
            result = self.compare(artefact, runtime)
            words = "passed" if result.passed else f"FAILED: {'; '.join(result.faults)}"
            self._report(
                f"{artefact.file} on {runtime}: parity {words} (largest difference "
                f"{result.max_difference:.4f}, {result.lesions_artefact} lesions, Keras "
                f"{result.lesions_reference})"
            )
            if not values:
                values = result.to_dict()
            else:
                values[f"{runtime}_passed"] = result.passed
                values[f"{runtime}_max_difference"] = result.max_difference
                values["passed"] = bool(values["passed"]) and result.passed
        return values

    def compare(self, artefact: Artefact, runtime: str) -> GateResult:
        """Run the judged scans through an artefact and through Keras."""
        view = _view(self._bundle, artefact)
        backend = _open(view, artefact, runtime)
        try:
            predictions = gate_predictions(view, backend, self._cases)
            reference = self._reference(backend.shapes)
        finally:
            backend.close()
        return compare_predictions(
            self._cases, reference, predictions, limits_of(artefact.precision)
        )

    def _reference(self, shapes: tuple[Shape, ...]) -> list[Prediction]:
        if shapes not in self._references:
            keras = open_reference(self._bundle, shapes, reason="parity gate")
            self._references[shapes] = gate_predictions(self._bundle, keras, self._cases)
            keras.close()
        return self._references[shapes]


def _view(bundle: Bundle, artefact: Artefact) -> Bundle:
    """The bundle with this artefact alone, so that no other answers for it."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artefacts": (artefact,)}))


def _runtimes(artefact: Artefact) -> tuple[str, ...]:
    """What an artefact is judged on: ONNX files have two runtimes, where both are installed."""
    if artefact.kind == "onnx":
        return ("onnx", "openvino") if find_spec("openvino") else ("onnx",)
    return (artefact.kind,)


def _open(view: Bundle, artefact: Artefact, runtime: str) -> Backend:
    if runtime == "savedmodel":
        return open_savedmodel(view, view.manifest.artefacts)
    return open_backend(view, f"{runtime}:{artefact.precision}")


def load_for_export(name: str) -> Bundle:
    """The bundle to export, every hash checked."""
    bundle = load_bundle(name)
    bundle.verify()
    return bundle
