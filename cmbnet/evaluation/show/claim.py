"""A start of the CLAIM checklist: what the results know is filled in, the rest is left to write."""

from __future__ import annotations

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.evaluation.cohort.analysis import Analysis
from cmbnet.evaluation.cohort.origin import Origin
from cmbnet.evaluation.show.results import cohort_counts
from cmbnet.evaluation.show.table import cell_text, number

ITEMS = (
    "Title or abstract: AI methodology and its category", "Abstract: structured summary",
    "Background, intended use and clinical role", "Objectives and hypotheses",
    "Prospective or retrospective", "Goal of the study", "Data sources", "Eligibility criteria",
    "Preprocessing of the data", "Selection of subsets of the data", "Definition of data elements",
    "De-identification", "Missing data", "Definition of the reference standard",
    "Rationale of the reference standard", "Source of the annotations, qualification of annotators",
    "Annotation tools", "Variability between and within annotators",
    "Intended sample size", "Assignment to partitions", "Level at which partitions are disjoint",
    "Description of the model", "Software", "Initialization of the parameters",
    "Training", "Selection of the final model", "Ensembling", "Metrics of performance",
    "Statistical measures of significance and uncertainty", "Robustness or sensitivity analysis",
    "Explainability", "Validation on external data", "Flow of cases",
    "Demographic and clinical characteristics by partition", "Performance on all partitions",
    "Diagnostic accuracy and its precision", "Failure analysis", "Limitations",
    "Implications for practice", "Registration", "Study protocol", "Funding",
)  # fmt: skip
"""The 42 items of Mongan et al., Radiol Artif Intell 2020, doi:10.1148/ryai.2020200029, in short
words of this project."""


def claim_markdown(analysis: Analysis, origin: Origin) -> str:
    """Write the checklist in Markdown."""
    known = _known(analysis, origin)
    lines = [
        "# CLAIM checklist, a start",
        "",
        f"Made by cmbnet {__version__} from these results. **{RESEARCH_USE_ONLY}**",
        "",
        "The items are those of CLAIM (doi:10.1148/ryai.2020200029), in short words. What these "
        "results know is filled in: check each sentence. The authors write the rest.",
        "",
        "| item | what it asks | in this study |",
        "|---|---|---|",
        *(f"| {n} | {item} | {known.get(n, 'to be written')} |"
          for n, item in enumerate(ITEMS, start=1)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _known(analysis: Analysis, origin: Origin) -> dict[int, str]:
    count, scores = cohort_counts(analysis.scores.cases), analysis.scores
    rates = ", ".join(
        f"{name} {number(scores.metrics[key])} ({cell_text(analysis.intervals[key])})"
        for key, name in (("lesion_recall", "recall"), ("lesion_precision", "precision"),
                          ("fp_per_scan", "false positives per scan"), ("dice", "Dice"))
    )  # fmt: skip
    return {
        7: f"{count['scans']} scans of {count['patients']} patients: {origin.words}",
        13: f"{count['missing_predictions']} missing predictions counted as empty",
        14: f"{count['true_lesions']} lesions of the reference, as connected groups of 26 "
        f"neighbours; size rule {scores.settings.size_rule}",
        22: "not recorded" if origin.model is None else f"bundle {origin.model}",
        23: f"cmbnet {__version__}",
        28: f"metrics.md of cmbnet defines them; matching rule {scores.settings.rule}",
        29: f"BCa bootstrap by patient, {analysis.plan.resamples} resamples, seed "
        f"{analysis.plan.seed}; 95 % intervals",
        30: f"{len(analysis.strata)} strata, in the table of strata",
        33: f"{count['patients_with_lesions']} patients with lesions, {count['controls']} "
        f"controls; {count['true_lesions_ignored']} true lesions ignored",
        36: rates,
        37: "error gallery in evaluation.html",
    }
