from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmbnet.bundle import OperatingPoint
from cmbnet.errors import InputRefused
from cmbnet.evaluation import Case, score_case, summarise
from cmbnet.lesions import LesionRules, find_lesions, spacing_affine
from cmbnet.training.choose.candidates import (
    SCORING,
    LabelledMap,
    OutlineRule,
    ScanCandidates,
    scan_candidates,
)
from cmbnet.training.choose.operating_points import (
    ENOUGH,
    F1_TOLERANCE,
    PATIENT_FPR,
    Chosen,
    _patient_threshold,
    choose_operating_points,
    rule_variants,
    sweep,
)
from cmbnet.training.choose.rates import Rates, ScoredScans
from cmbnet.volume import Volume
from tests.helpers.candidate import weighing

SHAPE = (6, 60, 60)
AFFINE = spacing_affine((2.0, 0.6, 0.6))
RULES = LesionRules()
EVIDENCE = weighing(
    -0.5,
    mean_logit=1.0,
    max_logit=0.2,
    log_volume=0.3,
    log_diameter=-0.5,
    continuation_mm=-0.1,
    continues=-0.4,
    elongation=-0.2,
    z_ratio=0.3,
    border_mm=0.05,
    darkest=0.5,
    sector_1=-0.5,
)
Spot = tuple[int, int, int, float]


def scan(
    name: str, lesions: list[Spot], false: list[Spot], ignored: Sequence[Spot] = ()
) -> LabelledMap:
    """Squares of 5 x 5 pixels (3 mm) in one slice: (z, y, x, probability)."""
    truth, probability = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.float32)
    ignore = np.zeros(SHAPE, np.uint8)
    for number, (z, y, x, p) in enumerate(lesions, start=1):
        truth[z, y : y + 5, x : x + 5] = number
        probability[z, y : y + 5, x : x + 5] = p
    for z, y, x, p in [*false, *ignored]:
        probability[z, y : y + 5, x : x + 5] = p
    for z, y, x, _ in ignored:
        ignore[z, y : y + 5, x : x + 5] = 1
    return LabelledMap(
        name=name,
        image=Volume(np.full(SHAPE, 100, np.float32), AFFINE),
        probability=Volume(probability, AFFINE),
        brain=np.ones(SHAPE, bool),
        truth=Volume(truth, AFFINE),
        ignore=Volume(ignore, AFFINE),
    )


def cohort() -> list[LabelledMap]:
    """Five lesions in two patients, and two controls; false alarms score lower than most."""
    return [
        scan("a", [(1, 5, 5, 0.95), (3, 20, 20, 0.9), (4, 40, 40, 0.45)], [(2, 40, 5, 0.6)]),
        scan("b", [(1, 5, 5, 0.85), (3, 20, 20, 0.0)], [], ignored=[(2, 40, 5, 0.9)]),
        scan("c", [], [(2, 30, 30, 0.7)]),
        scan("d", [], []),
    ]


def candidates(
    maps: list[LabelledMap], *thresholds: float
) -> dict[OutlineRule, list[ScanCandidates]]:
    return {
        OutlineRule(t): [scan_candidates(m, OutlineRule(t), RULES) for m in maps]
        for t in thresholds
    }


def scored(threshold: float, maps: list[LabelledMap] | None = None, **rules: Any) -> ScoredScans:
    scans = candidates(maps or cohort(), threshold)[OutlineRule(threshold)]
    return ScoredScans(scans, replace(RULES, pixel_threshold=threshold, **rules))


def chosen(maps: list[LabelledMap], *thresholds: float) -> Chosen:
    return choose_operating_points(
        candidates(maps, *thresholds), cohort="test", variants=rule_variants(RULES)
    )


def measured(point: OperatingPoint) -> Any:
    assert point.measured is not None
    return point.measured


def test_counts_by_hand_at_a_low_score() -> None:
    rates = scored(0.4).rates(0.0)
    assert (rates.scans, rates.positives, rates.true) == (4, 2, 5)
    assert (rates.found, rates.correct, rates.false) == (4, 4, 2)
    assert rates.false_positives_per_scan == pytest.approx(2 / 4)
    assert (rates.patient_fpr, rates.patient_fnr) == (0.5, 0.0)
    assert rates.false_per_control == 0.5, "one of the two false ones lies in a patient"
    assert rates.f1 == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))
    assert rates.dice == pytest.approx(2 * 100 / (150 + 125))


def test_counts_by_hand_at_a_high_score() -> None:
    rates = scored(0.4).rates(0.851)
    assert (rates.found, rates.correct, rates.false) == (2, 2, 0)
    assert (rates.patient_fpr, rates.patient_fnr) == (0.0, 0.5)


def test_a_patient_threshold_changes_patients_and_no_lesions() -> None:
    rates = scored(0.4).rates(0.0, 0.8)
    assert (rates.found, rates.false) == (4, 2)
    assert (rates.alarms, rates.missed) == (0, 0)
    assert scored(0.4).rates(0.0, 0.9).missed == 1  # b's best lesion scores 0.85


def test_a_patient_of_whose_lesion_little_is_covered_is_missed() -> None:
    """One row of five is less than the paper's 40 %: a missed lesion, hence a missed patient."""
    partly = scan("a", [(1, 20, 20, 0.9)], [])
    partly.probability.data[1, 21:] = 0.0
    rates = scored(0.4, [partly, scan("c", [], [])]).rates(0.0)
    assert (rates.found, rates.correct, rates.missed) == (0, 1, 1)


def test_a_patient_is_found_by_a_lesion_that_is_covered_by_too_much() -> None:
    """9 x 9 pixels around 5 x 5: the lesion is found by what is no correct lesion itself."""
    wide = scan("a", [(1, 20, 20, 0.9)], [])
    wide.probability.data[1, 18:27, 18:27] = 0.9
    rates = scored(0.4, [wide, scan("c", [], [])]).rates(0.0)
    assert (rates.found, rates.correct, rates.missed) == (1, 0, 0)


def test_a_false_lesion_finds_no_patient() -> None:
    beside = scan("a", [(1, 20, 20, 0.0)], [(3, 40, 40, 0.9)])
    assert scored(0.4, [beside, scan("c", [], [])]).rates(0.0).missed == 1


def test_an_ignored_candidate_is_no_reason_to_call_a_patient_positive() -> None:
    only_ignored = [scan("a", [], [], ignored=[(2, 40, 5, 0.9)])]
    assert scored(0.4, only_ignored).rates(0.0).alarms == 0


def test_above_every_score_nothing_is_left() -> None:
    rates = scored(0.4).rates(1.0)
    assert (rates.found, rates.correct, rates.false, rates.precision, rates.f1) == (0,) * 5
    assert (rates.patient_fpr, rates.patient_fnr) == (0.0, 1.0)


def test_the_sweep_tries_every_score_that_changes_something() -> None:
    # Rounded down, 0.95 may become 0.949: the lesion it was taken from is kept either way.
    assert [round(c.lesion_score, 2) for c in sweep(scored(0.4))] == [
        0.0, 0.45, 0.6, 0.7, 0.85, 0.9, 0.95
    ]  # fmt: skip


def test_the_points_do_what_their_names_say() -> None:
    points = {point.name: point for point in chosen(cohort(), 0.4, 0.5).points}
    assert list(points) == ["balanced", "sensitive", "screening"]
    balanced = measured(points["balanced"])
    assert balanced.patient_fpr == 0.0  # 0.5 would be above the limit
    assert balanced.sensitivity == pytest.approx(3 / 5)
    assert balanced.precision == 1.0
    sensitive = measured(points["sensitive"])
    assert sensitive.sensitivity == pytest.approx(4 / 5)
    assert points["sensitive"].pixel_threshold == 0.4
    # As a scan, the control with a false alarm of 0.7 is told from the patients all the same.
    assert points["sensitive"].patient_threshold > 0.7
    assert sensitive.patient_fpr == 0.0
    screening = measured(points["screening"])
    assert (screening.patient_fpr, screening.patient_fnr) == (0.0, 0.0)
    assert screening.cohort == "test"
    # Its patient threshold keeps the limit, so its lesions need not be cut as hard.
    assert points["screening"].lesion_score <= points["screening"].patient_threshold


def test_every_share_has_an_interval_that_holds_it() -> None:
    for point in chosen(cohort(), 0.4, 0.5).points:
        rates = measured(point)
        assert set(rates.intervals) == {
            "sensitivity", "precision", "false_positives_per_scan", "patient_fpr", "patient_fnr"
        }  # fmt: skip
        for name, (low, high) in rates.intervals.items():
            assert low <= getattr(rates, name) <= high
    assert rates.intervals["patient_fpr"] == pytest.approx((0.0, 0.6576), abs=1e-4)  # 0 of 2


def test_without_controls_nothing_is_said_about_them() -> None:
    rates = measured(chosen(cohort()[:2], 0.4).points[0])
    assert rates.patient_fpr is None
    assert "patient_fpr" not in rates.intervals


def test_without_lesions_there_is_nothing_to_choose() -> None:
    with pytest.raises(InputRefused, match="scans with lesions"):
        chosen(cohort()[2:], 0.4)


def test_controls_with_a_false_lesion_may_still_be_called_negative() -> None:
    # A tenth of the controls has a false lesion that scores as a faint true one does: a limit on
    # alarms by the lesion score would give away half of the true ones.
    patients = [scan(f"p{n}", [(1, 5, 5, 0.95), (3, 20, 20, 0.55)], []) for n in range(10)]
    controls = [scan(f"c{n}", [], [(2, 30, 30, 0.6)] if n == 0 else []) for n in range(9)]
    balanced, *_ = chosen([*patients, *controls], 0.4).points
    assert balanced.lesion_score <= 0.55
    assert balanced.patient_threshold > 0.6
    assert measured(balanced).patient_fpr == 0.0
    assert measured(balanced).sensitivity == 1.0


def test_no_more_controls_are_called_positive_than_allowed_to_spare_a_patient() -> None:
    """To find one faint patient, one control of 20 may be called positive, but not two."""
    patients = [scan(f"p{n}", [(1, 5, 5, 0.95)], []) for n in range(19)]
    faint = scan("faint", [(1, 5, 5, 0.6)], [])
    quiet = [scan(f"c{n}", [], []) for n in range(18)]
    loud = [scan(f"l{n}", [], [(2, 20, 20, 0.7)]) for n in range(2)]
    assert 1 / 20 < PATIENT_FPR < 2 / 20
    maps = [*patients, faint, *quiet, *loud]
    assert _patient_threshold(sweep(scored(0.4, maps))[0]) > 0.7
    one_loud = [*maps[:-1], quiet[0]]
    assert _patient_threshold(sweep(scored(0.4, one_loud))[0]) <= 0.6


def test_of_equal_lesions_the_better_outline_decides() -> None:
    """A rim of 0.3 around the lesion finds the same lesions, but marks too much."""
    found = scan("a", [(1, 20, 20, 0.9)], [])
    found.probability.data[1, 18:27, 18:27] = np.maximum(
        found.probability.data[1, 18:27, 18:27], 0.3
    )
    found.probability.data[1, 20:25, 20:25] = 0.9
    maps = [found, scan("c", [], [])]
    low, high = (scored(t, maps).rates(0.0) for t in (0.2, 0.5))
    assert (low.f1, high.f1) == (0.0, 1.0)  # 25 of 81 pixels: not even correct
    found.probability.data[1, 18:19, 18:27] = 0.0
    found.probability.data[1, 19:26, 18:20] = found.probability.data[1, 19:26, 25:27] = 0.0
    found.probability.data[1, 26] = 0.0
    low, high = (scored(t, maps).rates(0.0) for t in (0.2, 0.5))
    assert (low.f1, high.f1, high.dice) == (1.0, 1.0, 1.0)
    assert low.dice < 0.9
    assert chosen(maps, 0.2, 0.5).points[0].pixel_threshold == 0.5


def test_of_nearly_equal_points_the_count_of_lesions_decides() -> None:
    """119 sure lesions and a faint one, and a false alarm that scores between them."""
    places = [(y, x) for y in range(2, 52, 10) for x in range(2, 52, 6)]
    sure = [(z, y, x, 0.9) for z in (0, 2, 4) for y, x in places[:40]]
    lesions = [*sure[:-1], (*sure[-1][:3], 0.5)]
    maps = [
        scan("a", lesions, []),
        scan("b", [(1, 5, 5, 0.9)], [(3, 40, 40, 0.6)]),
        scan("c", [], []),
    ]
    # From .85 on 120 of 121 and none false, one too few; from .55 on one false makes up for it.
    strict, middle = (scored(0.4, maps).rates(s) for s in (0.85, 0.55))
    assert (strict.surplus, middle.surplus) == (-1, 0)
    assert strict.f1 > middle.f1 > strict.f1 - F1_TOLERANCE
    point = chosen(maps, 0.4).points[0]
    assert 0.5 < point.lesion_score <= 0.6


def test_one_set_of_rules_stays_as_it_is() -> None:
    rules = replace(RULES, max_elongation=3.5, border_factor=0.9)
    result = choose_operating_points(candidates(cohort(), 0.4), cohort="test", variants=[rules])
    assert result.rules == replace(rules, min_score=0.0)


def test_the_points_share_rules_that_were_tried() -> None:
    result = chosen(cohort(), 0.4, 0.5)
    assert result.rules in rule_variants(RULES)
    continuations = sum(line.startswith("max_continuation_mm") for line in result.report)
    assert continuations == len({rules.max_continuation_mm for rules in rule_variants(RULES)})


def many(number: int, *, controls: bool) -> list[LabelledMap]:
    """Patients with four sure lesions and two faint pieces of veins each; controls with these."""
    rng = np.random.default_rng(number)
    maps = []
    for n in range(number):
        true = [(1, 5, 5), (1, 40, 40), (4, 5, 40), (4, 40, 5)]
        false = [(2, 20, 20, rng.uniform(0.45, 0.7)), (3, 30, 45, rng.uniform(0.45, 0.7))]
        lesions = [(*place, rng.uniform(0.6, 0.99)) for place in true]
        maps.append(scan(f"p{n}", lesions, false))
        if controls:
            maps.append(scan(f"c{n}", [], false))
    return maps


def test_a_score_is_learned_where_there_is_enough_to_learn_from() -> None:
    made = candidates(many(24, controls=True), 0.4)
    plain = choose_operating_points(made, cohort="test", variants=[RULES])
    learned = choose_operating_points(made, cohort="test", variants=[RULES], learn=True)
    assert plain.rules.evidence is None
    assert learned.rules.evidence is not None
    weights = dict(
        zip(learned.rules.evidence.features, learned.rules.evidence.output, strict=False)
    )
    assert weights["mean_logit"] + weights["max_logit"] > 0
    assert learned.report == ("score: learned from 10 features, no hidden layer",)
    assert {point.pixel_threshold for point in learned.points} == {0.4}
    few = choose_operating_points(
        candidates(many(5, controls=True), 0.4), cohort="test", variants=[RULES], learn=True
    )
    assert few.rules.evidence is None


def test_teachers_say_what_is_learned_and_the_cohort_which_thresholds() -> None:
    cohort_, others = candidates(many(8, controls=True), 0.3, 0.4), many(24, controls=True)
    taught = choose_operating_points(
        cohort_,
        cohort="t",
        variants=[RULES],
        learn=True,
        score_candidates=candidates(others, 0.4),
    )
    own = choose_operating_points(candidates(others, 0.4), cohort="t", variants=[RULES], learn=True)
    assert taught.rules.evidence == own.rules.evidence
    # Only the outline rules of the other scans are tried.
    assert {point.pixel_threshold for point in taught.points} == {0.4}
    measured = taught.points[0].measured
    assert measured is not None
    assert (measured.n_positive, measured.n_negative) == (8, 8)
    with pytest.raises(InputRefused, match="give more scans to learn from"):
        choose_operating_points(
            cohort_,
            cohort="t",
            variants=[RULES],
            learn=True,
            score_candidates=candidates(others[:2], 0.4),
        )


def test_a_kept_score_competes_with_a_new_one() -> None:
    """What a site can teach from few candidates must not replace what thousands taught."""
    old = replace(RULES, evidence=EVIDENCE)
    maps = [scan("a", [(1, 5, 5, 0.6)], []), scan("c", [], [(2, 30, 30, 0.5)])]
    few = candidates(maps, 0.4)
    other = OperatingPoint(
        name="balanced", pixel_threshold=0.5, lesion_score=0.2, patient_threshold=0.2
    )
    kept = choose_operating_points(
        few, cohort="t", variants=[old], learn=True, score_candidates=few, start=[other]
    )
    assert kept.rules.evidence == EVIDENCE
    assert kept.report == ("score: that of the start is kept, 30 microbleeds and 30 false "
                           "candidates are needed for a new one",)  # fmt: skip


def test_few_lesions_keep_the_points_of_the_start() -> None:
    maps = [scan("a", [(1, 5, 5, 0.9), (3, 20, 20, 0.9)], [(2, 40, 5, 0.6)]), scan("c", [], [])]
    made = candidates(maps, 0.3, 0.4)
    old = OperatingPoint(
        name="balanced", pixel_threshold=0.4, lesion_score=0.1, patient_threshold=0.3
    )
    kept = choose_operating_points(made, cohort="t", variants=[RULES], learn=True, start=[old])
    (point,) = kept.points
    assert point.model_copy(update={"measured": None}) == old
    assert measured(point).precision == pytest.approx(2 / 3)
    assert "100 microbleeds are needed to choose new ones, 2 are here" in kept.report[0]
    blind = old.model_copy(update={"lesion_score": 0.95, "patient_threshold": 0.95})
    anew = choose_operating_points(made, cohort="t", variants=[RULES], start=[blind])
    assert measured(anew.points[0]).precision == 1.0, "points that find nothing are not kept"


def test_enough_lesions_choose_for_themselves() -> None:
    maps = many(60, controls=False)
    made = candidates(maps, 0.4)
    assert sum(len(s.overlap.truth_voxels) for s in made[OutlineRule(0.4)]) >= ENOUGH
    old = OperatingPoint(
        name="balanced", pixel_threshold=0.4, lesion_score=0.1, patient_threshold=0.3
    )
    free = choose_operating_points(made, cohort="t", variants=[RULES])
    started = choose_operating_points(made, cohort="t", variants=[RULES], start=[old])
    assert started.points == free.points


def test_where_no_limit_can_be_kept_the_fewest_false_alarms_decide() -> None:
    maps = [scan("a", [(1, 5, 5, 0.6)], []), scan("c", [], [(2, 30, 30, 0.9)])]
    assert {p.name for p in chosen(maps, 0.5).points} == {"balanced", "sensitive", "screening"}


def test_a_network_that_finds_nothing_gets_the_strictest_threshold() -> None:
    maps = [scan("a", [(1, 5, 5, 0.0)], [(3, 30, 30, 0.45)]), scan("c", [], [])]
    assert {p.pixel_threshold for p in chosen(maps, 0.3, 0.4).points} == {0.4}


def noise(seed: int, brain_rows: int) -> LabelledMap:
    """Smooth random probabilities, so that there are blobs of every shape, some at a border."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal(SHAPE), (1.0, 2.0, 2.0))
    probability = np.clip(0.5 + field / field.std() / 4, 0, 1).astype(np.float32)
    truth = np.where(gaussian_filter(rng.standard_normal(SHAPE), (1, 2, 2)) > 0.12, 1, 0)
    brain = np.zeros(SHAPE, bool)
    brain[:, :brain_rows] = True
    image = gaussian_filter(rng.standard_normal(SHAPE), (1, 2, 2)).astype(np.float32)
    return LabelledMap(
        name="n",
        image=Volume(image, AFFINE),
        probability=Volume(probability, AFFINE),
        brain=brain,
        truth=Volume(truth.astype(np.uint8), AFFINE),
        ignore=None,
    )


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0.55, 0.65, 0.75]),
    score=st.floats(0.0, 0.9),
    brain_rows=st.integers(20, 60),
    variant=st.sampled_from(
        [
            variant
            for rules in (RULES, replace(RULES, evidence=EVIDENCE, border_factor=0.85))
            for variant in rule_variants(replace(rules, border_mm=4.0, max_outside_brain=0.4))
        ]
    ),
)
def test_the_shortcut_counts_what_the_pipeline_finds(
    seed: int, threshold: float, score: float, brain_rows: int, variant: LesionRules
) -> None:
    found = noise(seed, brain_rows)
    rules = replace(variant, pixel_threshold=threshold)
    quick = ScoredScans([scan_candidates(found, OutlineRule(threshold), RULES)], rules).rates(score)
    finding = find_lesions(
        found.probability, replace(rules, min_score=score), brain=found.brain, image=found.image
    )
    labels = found.truth.with_data(finding.labels)
    slow = score_case(Case(name="n", truth=found.truth, predicted=labels), SCORING)
    verdicts = [lesion.verdict for lesion in (*slow.truth, *slow.predicted)]
    assert counts(quick) == (
        verdicts.count("found"),
        verdicts.count("found") + verdicts.count("missed"),
        verdicts.count("correct"),
        verdicts.count("false"),
    )
    whole = summarise([slow], SCORING).counts
    assert (quick.missed, quick.alarms) == (whole["patient_fn"], whole["patient_fp"])


def counts(rates: Rates) -> tuple[int, int, int, int]:
    return rates.found, rates.true, rates.correct, rates.false
