"""Run the parity gate on artefacts, with every runtime of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cmbnet.backends import Backend, open_backend
from cmbnet.backends.base import Shape
from cmbnet.bundle import Artefact, Bundle, NewArtefact, add_artefacts
from cmbnet.deploy.bundles import as_new
from cmbnet.deploy.gate import (
    GateCase,
    GateResult,
    ParityFailed,
    compare_predictions,
    limits_of,
)
from cmbnet.deploy.gate_runs import gate_predictions, predict_like
from cmbnet.deploy.savedmodel import open_savedmodel
from cmbnet.deploy.source import open_reference
from cmbnet.predict import Prediction

NOT_RUN = "not run"
CALIBRATIONS = 3
"""Number of attempts until an int8 file counts as failed."""

Report = Callable[[str], None]
MakeAgain = Callable[[Artefact, int], NewArtefact | None]
"""Function of an artefact and the number of attempts so far to a new one of the kind, or None."""


class Judge:
    """A judge that runs the gate on artefacts of a bundle. Keras runs once for each shape.

    A file of the bundle that is made again is replaced in it. An int8 file gets at least one
    attempt.
    """

    def __init__(
        self,
        bundle: Bundle,
        cases: Sequence[GateCase],
        report: Report,
        *,
        calibrations: int = CALIBRATIONS,
    ) -> None:
        self._bundle = bundle
        self._cases = cases
        self._report = report
        self._calibrations = calibrations
        self._references: dict[tuple[Shape, ...], list[Prediction]] = {}

    def judge_all(
        self, made: Iterable[NewArtefact], make_again: MakeAgain, *, allow_failure: bool
    ) -> list[NewArtefact]:
        """Return the artefacts with their verdicts; see `judge_file`.

        `make_again` makes an artefact again. With `allow_failure` a failed one stays, and says so.
        """
        judged = [self.judge_file(new.file, make_again) for new in made]
        return [accepted(new) for new in judged] if allow_failure else judged

    def judge_file(self, file: str, make_again: MakeAgain) -> NewArtefact:
        """Return an artefact with its verdict.

        The lesions that an int8 file loses depend on the scans that calibrated it. A file that
        fails is calibrated on other scans and judged again. The verdict counts the attempts.
        `make_again` makes an artefact again, or returns None if it cannot.
        """
        tried = [self._judged(file)]
        while tried[-1].parity["passed"] is False and len(tried) < self._calibrations:
            again = make_again(self._artefact(file), len(tried))
            if again is None:
                break
            self._bundle = add_artefacts(self._bundle, [again])
            tried.append(self._judged(file))
        passed = tried[-1].parity["passed"] is not False
        best = tried[-1] if passed else min(tried, key=_differing)
        if len(tried) == 1:
            return best
        return replace(best, parity={**best.parity, "calibrations": float(len(tried))})

    def _judged(self, file: str) -> NewArtefact:
        artefact = self._artefact(file)
        return as_new(self._bundle, artefact, self.verdict(artefact))

    def _artefact(self, file: str) -> Artefact:
        (found,) = (a for a in self._bundle.manifest.artefacts if a.file == file)
        return found

    def verdict(self, artefact: Artefact) -> dict[str, float | bool | str]:
        """Return the manifest's ``parity`` of an artefact. The first failing runtime decides."""
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
            for flip in result.flips:
                self._report(f"  {flip}")
            if not values:
                values = result.to_dict()
            else:
                values[f"{runtime}_passed"] = result.passed
                values[f"{runtime}_max_difference"] = result.max_difference
                values["passed"] = result.passed
            if not result.passed:
                break
        return values

    def compare(self, artefact: Artefact, runtime: str) -> GateResult:
        """Run the judged scans through an artefact and through Keras."""
        view = _view(self._bundle, artefact)
        backend = _open(view, artefact, runtime)
        try:
            reference = self._reference(backend.shapes)
            predictions = predict_like(view, backend, reference)
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


def accepted(new: NewArtefact) -> NewArtefact:
    """Mark a failed artefact as allowed."""
    if new.parity["passed"] is not False:
        return new
    return replace(new, parity={**new.parity, "failure_allowed": True})


def require_passed(judged: Sequence[NewArtefact], folder: Path) -> None:
    """Fail if an artefact failed its gate and nobody allowed it.

    Raises:
        ParityFailed: If one failed. It says which, what can be used, and what to do.
    """
    failed = [
        n for n in judged if n.parity["passed"] is False and "failure_allowed" not in n.parity
    ]
    if not failed:
        return
    passed = [new.file for new in judged if new.parity["passed"] is True]
    usable = f"{', '.join(passed)} passed and will be used" if passed else "Keras will be used"
    raise ParityFailed(
        f"the parity gate failed for {', '.join(new.file for new in failed)}; {folder} is written "
        f"and marks it: {usable}; to use what failed, export again and allow the failure",
        folder,
    )


def _differing(new: NewArtefact) -> float:
    return float(new.parity.get("lesions_differing", 0))


def _view(bundle: Bundle, artefact: Artefact) -> Bundle:
    """Return the bundle with this artefact alone, so that no other one is used."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artefacts": (artefact,)}))


def _runtimes(artefact: Artefact) -> tuple[str, ...]:
    """Return the runtimes that judge an artefact. ONNX files have two, if both are installed."""
    if artefact.kind == "onnx":
        return ("onnx", "openvino") if find_spec("openvino") else ("onnx",)
    return (artefact.kind,)


def _open(view: Bundle, artefact: Artefact, runtime: str) -> Backend:
    if runtime == "savedmodel":
        return open_savedmodel(view, view.manifest.artefacts)
    return open_backend(view, f"{runtime}:{artefact.precision}")
