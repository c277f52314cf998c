"""The model card: a page of Markdown that says what a bundle is, made of its manifest.

What was measured comes from the ``results.json`` files of ``cmbnet evaluate``; nothing in the card
is typed by hand but the notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmbnet.bundle.bundle import Bundle
from cmbnet.bundle.manifest import OperatingPoint
from cmbnet.evaluation.intervals import Interval, wilson

Results = Mapping[str, Any]
"""Content of a ``results.json``."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the table of bars.

    Args:
        title: Words of the row.
        name: A metric of ``results.json``, or `lesion_auc`, `patient_fpr`, `patient_fnr` (at the
            patient threshold) or `false_per_control`.
        bar: What is to be reached.
        paper: Value of Fan et al. 2022 on real scans, or None.
        at_most: Whether less is better.
    """

    title: str
    name: str
    bar: float
    paper: float | None = None
    at_most: bool = False


BARS = (
    Bar("pixel Dice, all voxels together", "dice", 0.75, 0.72),
    Bar("pixel precision", "precision", 0.75, 0.718),
    Bar("pixel recall", "recall", 0.78, 0.765),
    Bar("lesion precision, 40 % rule", "lesion_precision", 0.88, 0.751),
    Bar("lesion recall, 40 % rule", "lesion_recall", 0.88, 0.852),
    Bar("recall of 2-5 mm", "recall_small", 0.87, 0.844),
    Bar("recall of 5-10 mm", "recall_large", 0.95, 0.935),
    Bar("lesion ROC AUC", "lesion_auc", 0.92, 0.861),
    Bar("controls called positive", "patient_fpr", 0.10, 0.106, at_most=True),
    Bar("patients with lesions called negative", "patient_fnr", 0.02, 0.021, at_most=True),
    Bar("false lesions per control", "false_per_control", 0.15, 0.0, at_most=True),
)
BARS_ELSEWHERE = (
    Bar("lesion precision, 40 % rule", "lesion_precision", 0.75),
    Bar("lesion recall, 40 % rule", "lesion_recall", 0.75),
)
"""On scans unlike those of the test cohort."""

COUNT_BANDS = "true lesions per patient"


def model_card(
    bundle: Bundle,
    *,
    results: Results | None = None,
    curves: Results | None = None,
    elsewhere: Mapping[str, Results] | None = None,
    notes: str = "",
) -> str:
    """The card as Markdown.

    Args:
        bundle: What it describes.
        results: Of a test cohort at the default operating point, with its own lesion scores.
        curves: Of the same cohort, scored from its probability maps at a low threshold: the area
            under the lesion ROC curve, which ranks true lesions against false ones, is taken from
            there. At an operating point hardly a false one is left.
        elsewhere: Of other cohorts, by what they are: "outside the range of training".
        notes: Further sections, copied as they are.
    """
    point = bundle.operating_point()
    parts = [_head(bundle), _network(bundle), _training(bundle), _points(bundle)]
    if results is not None:
        title = "## What was measured on a test cohort"
        areas = results["areas"] if curves is None else curves["areas"]
        parts.append(_measured(title, BARS, {**results, "areas": areas}, point))
        if curves is not None:
            threshold = curves["settings"]["probability_threshold"]
            parts.append(
                "The lesion ROC ranks true lesions against all false ones that the probability "
                f"maps hold from {threshold:g} on, each by its mean probability."
            )
    for name, measured in (elsewhere or {}).items():
        parts.append(_measured(f"## What was measured {name}", BARS_ELSEWHERE, measured, point))
    return "\n\n".join([*parts, *([notes.strip()] if notes.strip() else [])]) + "\n"


def _head(bundle: Bundle) -> str:
    manifest = bundle.manifest
    unknown = (
        ""
        if manifest.training.real_patient_data
        else " How it does on patients is **unknown**; no number below says anything about it."
    )
    return (
        f"# Model card: `{manifest.name}`\n\n**{manifest.notice}**\n\n"
        f"{manifest.training.statement}{unknown}\n\n"
        f"Made by `cmbnet card` from the bundle with the SHA-256 `{bundle.sha256}`. "
        f"Licence: {manifest.licence}."
    )


def _network(bundle: Bundle) -> str:
    manifest, recipe = bundle.manifest, bundle.recipe
    context = manifest.context
    neighbours = (
        "the adjacent slices" if context == "adjacent" else f"slices {context.target_mm:g} mm away"
    )
    rows = [
        (f"`{a.file}`", a.kind, a.precision, " x ".join(str(n or "n") for n in a.shape), _kib(a))
        for a in manifest.artefacts
    ]
    total = sum(a.bytes for a in manifest.artefacts) / 1e6
    return (
        "## What it is\n\n"
        f"A network that sees a slice and {neighbours} of a scan in the {recipe.frame} frame "
        f"({recipe.size} x {recipe.size} pixels of {recipe.pixel_mm:g} mm) and answers with the "
        f"probability of a microbleed in every pixel of the middle one. {total:.1f} MB in all.\n\n"
        + _table(("file", "kind", "precision", "input", "KiB"), rows)
    )


def _kib(artefact: Any) -> str:
    return f"{artefact.bytes / 1024:.0f}"


def _training(bundle: Bundle) -> str:
    training = bundle.manifest.training
    lines = [f"- {line}" for line in training.data]
    details = ", ".join(f"{key.replace('_', ' ')} {v}" for key, v in training.details.items())
    return "\n".join(["## What it was trained on", "", *lines, "", f"{details}."])


def _points(bundle: Bundle) -> str:
    header = (
        "operating point", "pixel / lesion / patient threshold", "lesion sensitivity",
        "lesion precision", "false lesions per scan", "controls called positive",
        "patients called negative",
    )  # fmt: skip
    points = bundle.manifest.operating_points
    rows = [_point(point, bundle.manifest.default_operating_point) for point in points]
    cohorts = dict.fromkeys(p.measured.cohort for p in points if p.measured is not None)
    counts = next((p.measured for p in points if p.measured is not None), None)
    about = (
        f"Chosen and measured on the same scans ({'; '.join(cohorts)}: {counts.n_positive} with "
        f"and {counts.n_negative} without microbleeds), so better than on new ones. In brackets: "
        "95 % intervals."
        if counts is not None
        else "Not measured."
    )
    return f"## Operating points\n\n{about}\n\n{_table(header, rows)}"


def _point(point: OperatingPoint, default: str) -> tuple[str, ...]:
    name = f"`{point.name}`" + (" (default)" if point.name == default else "")
    thresholds = (point.pixel_threshold, point.lesion_score, point.patient_threshold)
    shares = (
        "sensitivity", "precision", "false_positives_per_scan", "patient_fpr", "patient_fnr"
    )  # fmt: skip
    cells = [_share(point, share) for share in shares]
    return (name, " / ".join(f"{value:g}" for value in thresholds), *cells)


def _share(point: OperatingPoint, name: str) -> str:
    measured = point.measured
    value = None if measured is None else getattr(measured, name)
    if measured is None or value is None:
        return "-"
    interval = measured.intervals.get(name)
    return _number(value) + ("" if interval is None else f" ({_range(*interval)})")


def _measured(title: str, bars: Sequence[Bar], results: Results, point: OperatingPoint) -> str:
    cohort = results["cohort"]
    about = (
        f"{cohort['patients_with_lesions']} scans with {cohort['true_lesions']} lesions and "
        f"{cohort['controls']} without; operating point `{point.name}`; rule "
        f"{results['settings']['rule']}; cmbnet {results['cmbnet']}. Nothing was chosen by them. "
        "The column of the paper (Fan et al. 2022, doi:10.3389/fmed.2022.807443) is measured on "
        "scans of patients: another task."
    )
    header = ("", "paper, patients", "bar", "measured", "95 % interval", "reached")
    rows = [_row(bar, results, point) for bar in bars]
    return f"{title}\n\n{about}\n\n{_table(header, rows)}"


def _row(bar: Bar, results: Results, point: OperatingPoint) -> tuple[str, ...]:
    value, interval = _value(bar.name, results, point)
    sign = "at most " if bar.at_most else "at least "
    reached = "-"
    if value is not None:
        reached = "yes" if (value <= bar.bar if bar.at_most else value >= bar.bar) else "**no**"
    return (
        bar.title,
        "" if bar.paper is None else _number(bar.paper),
        sign + _number(bar.bar),
        "-" if value is None else _number(value),
        "-" if interval is None else _range(*interval),
        reached,
    )


Value = tuple[float | None, tuple[float, float] | None]


def _value(name: str, results: Results, point: OperatingPoint) -> Value:
    """A number of ``results.json`` and its interval."""
    if name == "lesion_auc":
        area = _named(results["areas"], name)
        return (None, None) if area is None else (area["value"], _ends(area["bootstrap"]))
    if name == "false_per_control":
        bands = (s for s in results["strata"] if s["kind"] == COUNT_BANDS and s["name"] == "0")
        return next(((s["fp_per_scan"], None) for s in bands), (None, None))
    if name in ("patient_fpr", "patient_fnr"):
        return _patients(name, results, point.patient_threshold)
    metric = _named(results["metrics"], name)
    return (None, None) if metric is None else (metric["value"], _ends(metric["interval"]))


def _patients(name: str, results: Results, threshold: float) -> Value:
    """Share of scans called wrongly, a scan being positive from a score of its best lesion on."""
    if results["patient_thresholds"] is None:
        return None, None
    reached = [row for row in results["patient_thresholds"] if row["threshold"] >= threshold]
    row = min(reached, key=lambda row: row["threshold"], default={"tp": 0.0, "fp": 0.0})
    cohort = results["cohort"]
    if name == "patient_fpr":
        wrong, total = row["fp"], cohort["controls"]
    else:
        total = cohort["patients_with_lesions"]
        wrong = total - row["tp"]
    interval: Interval = wilson(wrong, total)
    return (wrong / total, (interval.low, interval.high)) if total else (None, None)


def _named(rows: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["name"] == name), None)


def _ends(interval: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = interval["low"], interval["high"]
    return None if low is None or high is None else (low, high)


def _number(value: float) -> str:
    return f"{value:.3f}"


def _range(low: float, high: float) -> str:
    return f"{low:.2f}-{high:.2f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
