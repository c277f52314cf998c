"""The model card: a page of Markdown that describes a bundle.

Its content comes from the manifest of the bundle and from the ``results.json`` files of ``cmbnet
evaluate``. Only the notes are typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmbnet.bundle.bundle import Bundle
from cmbnet.bundle.manifest import Artefact, ChosenOn, OperatingPoint
from cmbnet.data_kind import KINDS
from cmbnet.errors import InputRefused
from cmbnet.evaluation.cohort.origin import THRESHOLDS
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.evaluation.stats.metrics import METRICS, PAPER_LESION_AUC
from cmbnet.pages import render

Results = Mapping[str, Any]
"""Content of a ``results.json``."""

SHARES_SCHEMA = "cmbnet/shares/1"
"""Schema of a file with the counts of a benchmark."""

FIGURES = {
    "dice": "pixel Dice, all voxels together",
    "precision": "pixel precision",
    "recall": "pixel recall",
    "lesion_precision": "lesion precision",
    "lesion_recall": "lesion recall",
    "recall_small": "recall of 2-5 mm",
    "recall_large": "recall of 5-10 mm",
    "lesion_auc": "lesion ROC AUC",
    "patient_fpr": "controls with a false alarm",
    "patient_fnr": "patients missed",
    "false_per_control": "false lesions per control",
}
"""Rows of the table of a test cohort: a metric of ``results.json``, or `lesion_auc`, `patient_fpr`,
`patient_fnr` (at the patient threshold) or `false_per_control`, and its title."""
FIGURES_ELSEWHERE = {
    name: FIGURES[name]
    for name in (
        "dice",
        "lesion_precision",
        "lesion_recall",
        "patient_fpr",
        "patient_fnr",
        "false_per_control",
    )
}
"""The rows for scans unlike those of the test cohort."""

PATIENTS = ("patient_fpr", "patient_fnr")
COUNT_BANDS = "true lesions per patient"
PAPER = (
    "The column of the paper (Fan et al. 2022, doi:10.3389/fmed.2022.807443) was measured on scans "
    "of patients. That is another task."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContent:
    """The results and notes that a card shows beside the bundle."""

    results: Results | None = None  # Results of a test cohort, with its own lesion scores
    # Results of the same cohort, scored from its probability maps at a low threshold. The area
    # under the lesion ROC curve comes from here.
    curves: Results | None = None
    # Results of other cohorts. The key says what the cohort is, for example "outside the range of
    # training".
    elsewhere: Mapping[str, Results] = field(default_factory=dict)
    # What benchmarks counted, such as those of follow-up (``benchmarks/shares.py``)
    shares: Sequence[Results] = ()
    notes: str = ""  # Further sections of Markdown, copied as they are
    paper: bool = False  # Whether the table has a column with the paper's values
    # Whether to accept results that do not record their bundle. The card says so.
    unrecorded: bool = False

    @property
    def all(self) -> dict[str, Results]:
        """Every document, by what it is."""
        given = {"results": self.results, "curves": self.curves}
        given |= {f"results {name}": one for name, one in self.elsewhere.items()}
        return {name: one for name, one in given.items() if one is not None}


def model_card(bundle: Bundle, content: CardContent | None = None) -> str:
    """Return the card as Markdown.

    Raises:
        InputRefused: If results belong to another bundle, or do not record their bundle.
    """
    content = content or CardContent()
    for what, one in content.all.items():
        _require_own(bundle, what, one, unrecorded=content.unrecorded)
    results, curves, roc_from = content.results, content.curves, None
    measured = []
    if results is not None:
        if curves is not None:
            if curves["data"] != results["data"]:
                raise InputRefused("curves must be of the cases of the results, and are of others")
            results = {**results, "areas": curves["areas"]}
            roc_from = curves["settings"]["probability_threshold"]
        where = "on a test cohort"
        measured.append(_measured(where, FIGURES, results, bundle, paper=content.paper))
    measured += [
        _measured(where, FIGURES_ELSEWHERE, one, bundle) for where, one in content.elsewhere.items()
    ]
    measured += [_shares(one, bundle) for one in content.shares]
    manifest = bundle.manifest
    points = manifest.operating_points
    known = [point.measured for point in points if point.measured is not None]
    kinds = {one["data"]["kind"] for one in content.all.values()}
    text = render(
        "card.md",
        manifest=manifest,
        sha256=bundle.sha256,
        known=manifest.training.real_patient_data or "patients" in kinds,
        files=[_file(one) for one in manifest.artefacts],
        points=[_point(one, manifest.default_operating_point) for one in points],
        counts=known[0] if known else None,
        cohorts=dict.fromkeys(one.cohort for one in known),
        measured=measured,
        roc_from=roc_from,
        notes=content.notes.strip(),
    )
    return text.rstrip() + "\n"


def _require_own(bundle: Bundle, what: str, results: Results, *, unrecorded: bool) -> None:
    """Refuse results of another bundle or other thresholds, and results without a data kind."""
    if results["data"]["kind"] is None:
        raise InputRefused(
            f"the {what} do not say what kind of data their scans are: score them again"
        )
    model = results["model"]
    if model is None:
        if unrecorded:
            return
        raise InputRefused(
            f"the {what} do not record which bundle made their predictions; score the folder that "
            "cmbnet predict wrote, or accept that the card says so",
            argument="unrecorded",
        )
    if model["bundle_sha256"] != bundle.sha256:
        raise InputRefused(
            f"the {what} are of the bundle {model['bundle']} with the SHA-256 "
            f"{model['bundle_sha256']}, the card is of {bundle.manifest.name} with {bundle.sha256}"
        )
    name = model["operating_point"]
    if name is None:
        if what == "curves":
            return
        raise InputRefused(
            f"the {what} come from maps at a new threshold, which has no operating point"
        )
    point = bundle.operating_point(name)
    different = [key for key in THRESHOLDS if getattr(point, key) != model[key]]
    if different:
        raise InputRefused(
            f"the {what} have another {different[0]} than the operating point {name} of the "
            f"bundle: {model[different[0]]:g}, required is {getattr(point, different[0]):g}"
        )


def _shares(counted: Results, bundle: Bundle) -> dict[str, Any]:
    """Make the section of a benchmark: a table of hits, totals and shares.

    Raises:
        InputRefused: If another bundle was measured.
    """
    model = counted["model"]
    if model is not None and model["bundle_sha256"] != bundle.sha256:
        raise InputRefused(
            f"the figures {counted['where']} are of the bundle with the SHA-256 "
            f"{model['bundle_sha256']}, the card is of {bundle.sha256}: measure them again"
        )
    rows = []
    for what, (hits, total) in counted["shares"].items():
        interval = wilson(hits, total)
        share = _number(hits / total), _range(interval.low, interval.high)
        rows.append((what, f"{hits} of {total}", *share))
    sentences = [f"The scans are {KINDS[counted['data']['kind']]}. {counted['about']}"]
    header = ("", "number", "share", "95 % interval")
    return {"where": counted["where"], "sentences": sentences, "header": header, "rows": rows}


def _file(one: Artefact) -> tuple[str, ...]:
    shape = " x ".join(str(n or "n") for n in one.shape)
    return f"`{one.file}`", one.kind, one.precision, shape, f"{one.bytes / 1024:.0f}"


def _point(point: OperatingPoint, default: str) -> tuple[str, ...]:
    name = f"`{point.name}`" + (" (default)" if point.name == default else "")
    thresholds = (point.pixel_threshold, point.lesion_score, point.patient_threshold)
    shares = ("sensitivity", "precision", "false_positives_per_scan", *PATIENTS)
    cells = [_share(point, share) for share in shares]
    return (name, " / ".join(f"{value:g}" for value in thresholds), *cells)


def _share(point: OperatingPoint, name: str) -> str:
    measured = point.measured
    value = None if measured is None else getattr(measured, name)
    if measured is None or value is None:
        return "-"
    interval = measured.intervals.get(name)
    return _number(value) + ("" if interval is None else f" ({_range(*interval)})")


def _measured(
    where: str,
    figures: Mapping[str, str],
    results: Results,
    bundle: Bundle,
    *,
    paper: bool = False,
) -> dict[str, Any]:
    """Make the section of some results: where they were measured, sentences, and a table."""
    model = results["model"]
    point = bundle.operating_point("default" if model is None else model["operating_point"])
    sentences = [
        _who(results),
        f"The operating point is {'not recorded' if model is None else f'`{point.name}`'}. Lesions "
        f"were matched by the rule `{results['settings']['rule']}` (docs/metrics.md). cmbnet "
        f"{results['cmbnet']} scored them.",
        _chosen(results, bundle.manifest.training.chosen_on),
        *([UNRECORDED] if model is None else []),
        *([PAPER] if paper else []),
    ]
    if results["patient_thresholds"] is None and any(name in PATIENTS for name in figures):
        sentences.append(
            "The results have no table by threshold, so patients and controls are judged at the "
            "threshold of the lesion score."
        )
    header = ("", *(["paper, patients"] if paper else []), "measured", "95 % interval")
    rows = []
    for name, what in figures.items():
        value, interval = _value(name, results, point)
        ends = "-" if interval is None else _range(*interval)
        beside = [_number(_paper(name))] if paper else []
        rows.append((what, *beside, "-" if value is None else _number(value), ends))
    return {"where": where, "sentences": sentences, "header": header, "rows": rows}


UNRECORDED = "**The results do not record the hash of their bundle.**"


def _who(results: Results) -> str:
    """Say how many scans of what kind there are."""
    cohort, words = results["cohort"], KINDS[results["data"]["kind"]]
    patients = "" if cohort["patients"] == cohort["scans"] else f" ({cohort['patients']} persons)"
    return (
        f"The cohort has {cohort['scans']} {words}{patients}: {cohort['patients_with_lesions']} "
        f"with {cohort['true_lesions']} lesions, {cohort['controls']} without."
    )


def _chosen(results: Results, chosen_on: ChosenOn | None) -> str:
    """Say whether thresholds were chosen on scans of the results; their hashes tell."""
    scans = {case["input_sha256"] for case in results["data"]["cases"]}
    if chosen_on is None or "" in scans or not scans:
        return "It is not recorded whether thresholds were chosen on some of these scans."
    both = len(scans & set(chosen_on.scans))
    if both:
        return (
            f"**Thresholds were chosen on {both} of these scans**, so the figures are better than "
            "on new scans."
        )
    return f"Thresholds were chosen on {len(chosen_on.scans)} other scans."


def _paper(name: str) -> float | None:
    """Return the value that Fan et al. 2022 measured on its patients."""
    papers = {one.name: one.paper for one in METRICS} | {"lesion_auc": PAPER_LESION_AUC}
    return papers.get(name)


Value = tuple[float | None, tuple[float, float] | None]


def _value(name: str, results: Results, point: OperatingPoint) -> Value:
    """Return a number of ``results.json`` and its interval."""
    if name == "lesion_auc":
        area = _named(results["areas"], name)
        return (None, None) if area is None else (area["value"], _ends(area["bootstrap"]))
    if name == "false_per_control":
        bands = (s for s in results["strata"] if s["kind"] == COUNT_BANDS and s["name"] == "0")
        return next(((s["fp_per_scan"], None) for s in bands), (None, None))
    rows = results["patient_thresholds"]
    of_patients = name in PATIENTS
    if of_patients and rows is not None:
        return _patients(name, rows, results, point.patient_threshold)
    metric = _named(results["metrics"], name)
    if metric is None:
        return None, None
    return metric["value"], _ends(metric["wilson" if of_patients else "interval"])


def _patients(name: str, rows: Sequence[Mapping[str, Any]], results: Results, at: float) -> Value:
    """Return the share of missed patients, or of controls with an alarm, at a threshold."""
    reached = [row for row in rows if row["threshold"] >= at]
    row = min(reached, key=lambda row: row["threshold"], default={"tp": 0.0, "fp": 0.0})
    cohort = results["cohort"]
    if name == "patient_fpr":
        wrong, total = row["fp"], cohort["controls"]
    else:
        total = cohort["patients_with_lesions"]
        wrong = total - row["tp"]
    interval = wilson(wrong, total)
    return (wrong / total, (interval.low, interval.high)) if total else (None, None)


def _named(rows: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["name"] == name), None)


def _ends(interval: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = interval["low"], interval["high"]
    return None if low is None or high is None else (low, high)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _range(low: float, high: float) -> str:
    return f"{low:.2f}-{high:.2f}"
