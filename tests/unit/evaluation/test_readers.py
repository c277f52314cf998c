"""The reader study: sites, labels, agreement, times, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from cmbnet.cli.readers import command
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.evaluation.readers import ReadCase, analyse_study, find_sites
from cmbnet.evaluation.readers.load import read_labels_table
from cmbnet.evaluation.readers.report import study_tables
from cmbnet.evaluation.readers.times import Reading, compare_times, read_times
from cmbnet.io import read_nifti, write_nifti
from cmbnet.volume import Volume
from tests.helpers.simulate import simulate_reader

from .cohort import write_cohort


def row(text: str) -> Volume:
    data = np.array([[[0 if c == "." else int(c) for c in text]]], np.int32)
    return Volume(data, np.eye(4), "row")


def marks(*columns: str) -> NDArray[np.bool_]:
    return np.array([[c == "x" for c in column] for column in columns], bool).T


def test_sites_join_lesions_that_touch() -> None:
    case = find_sites(
        "a",
        system=row("11..22...."),
        truth=row(".11....22."),
        readers={"B": row("11........"), "A": row("11......3.")},
    )
    # Sites: truth 1 and 2, then the system's second lesion.
    assert case.truth is not None
    assert case.truth.tolist() == [True, True, False]
    assert case.system.tolist() == [True, False, True]
    assert case.readers.tolist() == [[True, True], [True, False], [False, False]]  # A, B


def test_a_lesion_that_only_readers_see_is_one_site() -> None:
    case = find_sites("a", row("......"), {"A": row("11...."), "B": row(".11...")})
    assert case.readers.tolist() == [[True, True]]
    assert case.truth is None


def test_a_case_without_any_lesion_has_no_site() -> None:
    case = find_sites("a", row("..."), {"A": row("...")}, row("..."))
    assert case.readers.shape == (0, 1)


def test_sites_need_one_grid() -> None:
    with pytest.raises(InputRefused, match="must lie on the grid"):
        find_sites("a", row("..."), {"A": row("....")})


def two_cases() -> list[ReadCase]:
    """Case one: sites 1-4; case two: one site that the system misses.

    Truth x x . x / x; system x . x x / .; reader A x x . x / x; reader B x . x x / .
    """
    return [
        ReadCase("one", marks("x.xx")[:, 0], marks("xx.x", "x.xx"), marks("xx.x")[:, 0]),
        ReadCase("two", marks(".")[:, 0], marks("x", "."), marks("x")[:, 0]),
    ]


def test_labels_by_hand() -> None:
    study = analyse_study(["A", "B"], two_cases(), resamples=100)
    first, second = study.readers
    labels = first.system_by_reader
    # Sites 1, 4 correct; 2 and that of case two missed; 3 incorrect.
    assert (labels.correct, labels.missed, labels.incorrect) == (2, 2, 1)
    assert labels.accuracy == pytest.approx(2 / 5)
    assert labels.shares == pytest.approx((0.4, 0.4, 0.2))
    assert first.reader_by_truth is not None
    assert first.reader_by_truth.accuracy == 1
    assert second.system_by_reader.accuracy == 1  # B changed nothing
    assert study.system_by_truth is not None
    assert study.system_by_truth.correct == 2


def test_kappa_by_hand() -> None:
    study = analyse_study(["A", "B"], two_cases(), resamples=100)
    # A against the system over 5 sites: both 2, A only 2, system only 1, neither 0.
    # Observed 2/5; chance 4/5 * 3/5 + 1/5 * 2/5 = 14/25.
    expected = (2 / 5 - 14 / 25) / (1 - 14 / 25)
    assert study.readers[0].with_system.sites.value == pytest.approx(expected)
    assert study.readers[1].with_system.sites.value == pytest.approx(1.0)
    assert study.pairs[0].agreement.sites.value == pytest.approx(expected)
    assert study.fleiss_sites.value < study.readers[1].with_system.sites.value
    # Presence: A sees a lesion in both cases, so one category only of the truth: undefined.
    assert np.isnan(study.readers[0].with_truth.presence.value)  # type: ignore[union-attr]


def test_positive_agreement_leads_where_kappa_of_sites_means_nothing() -> None:
    """13 lesions of both, one of each alone: 13 over 14. Nobody marks a site that nobody sees."""
    both = ReadCase("a", marks("x" * 14 + ".")[:, 0], marks("x" * 13 + ".x"), None)
    study = analyse_study(["A"], [both], resamples=100)
    agreement = study.readers[0].with_system
    assert agreement.positive == pytest.approx(26 / 28)
    assert agreement.sites.value == pytest.approx(-0.0714, abs=1e-4)
    interval = agreement.positive_interval
    assert (interval.low, interval.high) == pytest.approx((26 / 28, 26 / 28))
    tables = {table.title: table for table in study_tables(study)}
    labels, matrix = tables["Labels of the system by each reader"], tables["Agreement"]
    assert labels.header[6] == "Positive agreement with the system"
    assert labels.rows[0][6] == "0.929"
    assert matrix.header[1:4] == ("Positive agreement", "95 %, by case", "Kappa: any lesion")
    assert matrix.header[-1] == "sites"
    assert "-0.07" not in "".join(labels.rows[0])
    assert not any("Paper" in row[0] for row in labels.rows)


def test_positive_agreement_of_all_readers_by_hand() -> None:
    """Case one: AB, A, B, AB; case two: A. Two of both, of 4 and 3: 2 * 2 / 7."""
    study = analyse_study(["A", "B"], two_cases(), resamples=100)
    assert study.positive == pytest.approx(4 / 7)
    assert study.pairs[0].agreement.positive == pytest.approx(4 / 7)
    alone = analyse_study(["A"], [ReadCase("a", marks("x")[:, 0], marks("x"), None)], resamples=100)
    assert np.isnan(alone.positive)


def test_what_lies_in_the_ignore_region_is_no_site() -> None:
    """Of 5 voxels 3 are more than 40 %, 2 are not; whoever marks it, it counts for nobody."""
    system, reader = row("11111.22222.333"), row("11111.......333")
    case = find_sites("a", system, {"A": reader}, ignore=row("111...22......."))
    assert case.system.tolist() == [True, True]
    assert case.readers.tolist() == [[False], [True]]
    none = find_sites("a", system, {"A": reader}, row("11111.........."), ignore=row("1" * 15))
    assert none.readers.shape == (0, 1)
    assert none.truth is not None
    assert not none.truth.size
    with pytest.raises(InputRefused, match="must lie on the grid"):
        find_sites("a", system, {"A": reader}, ignore=row("1"))


def test_the_papers_shares() -> None:
    """20.6 missed are 2.5 %, 35.6 incorrect 4.3 %: about 826 labels; accuracy 93.2 %."""
    study = analyse_study(
        ["A"],
        [ReadCase("a", marks("x" * 770 + "." * 21 + "x" * 36)[:, 0],
                  marks("x" * 791 + "." * 36), None)],
        resamples=100,
    )  # fmt: skip
    labels = study.readers[0].system_by_reader
    assert (labels.missed, labels.incorrect) == (21, 36)
    assert [round(100 * share, 1) for share in labels.shares] == [93.1, 2.5, 4.4]


@pytest.mark.parametrize(
    ("names", "cases", "match"),
    [
        ([], two_cases(), "at least one case and one reader"),
        (["A"], [], "at least one case and one reader"),
        (["A", "A"], two_cases(), "different names"),
        (["A", "B", "C"], two_cases(), "not read by all of"),
        (["A", "B"], [two_cases()[0], ReadCase("t", marks("x")[:, 0], marks("x", "x"), None)],
         "reviewed truth or none"),
    ],
)  # fmt: skip
def test_studies_that_do_not_fit(names: list[str], cases: list[ReadCase], match: str) -> None:
    with pytest.raises(InputRefused, match=match):
        analyse_study(names, cases, resamples=100)


TABLE = """reader,case,lesion,label
A,one,1,correct
A,one,2,incorrect
A,one,m1,missed
B,one,1,correct
B,one,2,correct
truth,one,1,correct
truth,one,2,incorrect
truth,one,m1,missed
A,two,,
B,two,,
truth,two,,
"""


def test_a_table_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE, encoding="utf-8")
    names, cases = read_labels_table(path)
    assert names == ["A", "B"]
    one, two = cases
    assert one.system.tolist() == [True, True, False]
    assert one.readers.tolist() == [[True, True], [False, True], [True, False]]
    assert one.truth is not None
    assert one.truth.tolist() == [True, False, True]
    assert two.readers.shape == (0, 2)
    study = analyse_study(names, cases, resamples=100)
    assert [r.system_by_reader.correct for r in study.readers] == [1, 2]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (("A,one,2,incorrect\n", ""), InputRefused, "lesion 2 of case one.*no label by A"),
        (("incorrect", "wrong"), InputRefused, "a label of correct, missed, incorrect"),
        (("A,two,,\n", ""), InputRefused, "case two was not read by A"),
        (("B,one,2,", "B,one,m1,correct\nB,one,2,"), InputRefused, "missed by the system for one"),
        (("A,one,2,", "A,one,1,"), InputRefused, "labels a lesion twice"),
        (("reader,case", "who,case"), UnreadableFile, "columns reader, case, lesion, label"),
    ],
)
def test_tables_that_contradict_themselves(
    tmp_path: Path, change: tuple[str, str], error: type[Exception], match: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(TABLE.replace(*change), encoding="utf-8")
    with pytest.raises(error, match=match):
        read_labels_table(path)


def test_times_by_hand() -> None:
    readings = [
        Reading("A", f"c{n}", arm, seconds)
        for n in range(8)
        for arm, seconds in (("without", 100.0 + n), ("with", 40.0))
    ]
    result, every = compare_times(readings, resamples=200)
    assert (result.pairs, result.mean_with_s, result.mean_without_s) == (8, 40, 103.5)
    assert result.saved == pytest.approx(1 - 320 / 828)
    assert result.saved_interval.low < result.saved < result.saved_interval.high
    assert result.p == pytest.approx(2 / 2**8)  # all 8 differences of one sign
    assert every.reader == "all"
    assert every.saved == result.saved


def test_medians_and_the_share_of_the_whole_time_by_hand() -> None:
    """With 10, 20, 60, without 100, 20, 100 s: of 220 s 90 are left."""
    readings = [
        Reading("A", case, arm, seconds)
        for case, both in zip("cde", ((10.0, 100.0), (20.0, 20.0), (60.0, 100.0)), strict=True)
        for arm, seconds in zip(("with", "without"), both, strict=True)
    ]
    result = compare_times([*readings, Reading("A", "f", "with", 999.0)], resamples=100)[0]
    assert (result.pairs, result.median_with_s, result.median_without_s) == (3, 20, 100)
    assert result.mean_with_s == 30
    assert result.saved == pytest.approx(1 - 90 / 220)


@pytest.mark.parametrize(("pairs", "p"), [(5, None), (6, 2 / 2**6)])
def test_five_pairs_are_too_few_for_a_p(pairs: int, p: float | None) -> None:
    readings = [
        Reading("A", f"c{n}", arm, seconds)
        for n in range(pairs)
        for arm, seconds in (("with", 1.0 + n), ("without", 50.0))
    ]
    result = compare_times(readings, resamples=100)[0]
    assert np.isnan(result.p) if p is None else result.p == pytest.approx(p)


def test_times_of_one_case_are_resampled_together() -> None:
    """Two readers of one case: one case is drawn, so nothing varies."""
    arms: tuple[str, str] = ("with", "without")
    pairs = (("A", 10.0), ("B", 30.0))
    readings = [Reading(reader, "c", arm, seconds) for reader, seconds in pairs for arm in arms]
    every = compare_times(readings, resamples=100)[-1]
    assert (every.pairs, every.saved_interval.low, every.saved_interval.high) == (2, 0, 0)


def test_the_interval_of_one_case_is_its_value() -> None:
    """Resamples of one case are that case: 2 correct, 1 missed, 1 incorrect; kappa by hand."""
    case = ReadCase("a", marks("xx.x")[:, 0], marks("xxx."), None)
    reader = analyse_study(["A"], [case], resamples=100).readers[0]
    labels = reader.system_by_reader
    assert (labels.correct, labels.missed, labels.incorrect) == (2, 1, 1)
    assert (labels.accuracy_interval.low, labels.accuracy_interval.high) == (0.5, 0.5)
    # Observed 2/4, by chance 3/4 * 3/4 + 1/4 * 1/4.
    kappa = (1 / 2 - 10 / 16) / (6 / 16)
    interval = reader.with_system.sites_interval
    assert (interval.low, interval.high) == pytest.approx((kappa, kappa))
    assert np.isnan(reader.with_system.presence.value)


def test_agreement_of_counts_by_hand() -> None:
    """Reader 0, 1, 3 and 3 lesions in four cases, system 0, 0, 2 and 5."""
    counts = ((0, 0), (1, 0), (3, 2), (3, 5))
    cases = [
        ReadCase(str(n), np.arange(5) < system, (np.arange(5) < reader)[:, np.newaxis], None)
        for n, (reader, system) in enumerate(counts)
    ]
    agreement = analyse_study(["A"], cases, resamples=100).readers[0].with_system
    # Any lesion: agree on 3 of 4; by chance 3/4 * 1/2 + 1/4 * 1/2.
    assert agreement.presence.value == pytest.approx((3 / 4 - 1 / 2) / (1 / 2))
    # Bands 0, 1, 2, 2 against 0, 0, 2, 3: 2 of 4; by chance (1 * 2 + 2 * 1) / 16.
    assert agreement.bands.value == pytest.approx((1 / 2 - 1 / 4) / (3 / 4))
    # With weights: 0, 1, 0 and 1 bands apart; by chance over all 16 pairs.
    by_chance = sum(1 - abs(a - b) / 4 for a in (0, 1, 2, 2) for b in (0, 0, 2, 3)) / 16
    assert agreement.bands_linear.value == pytest.approx((7 / 8 - by_chance) / (1 - by_chance))
    by_chance = sum(1 - (a - b) ** 2 / 16 for a in (0, 1, 2, 2) for b in (0, 0, 2, 3)) / 16
    assert agreement.bands_quadratic.value == pytest.approx((31 / 32 - by_chance) / (1 - by_chance))


def test_fleiss_of_the_readers_by_hand() -> None:
    """Sites of case one: AB, A, B, AB; of case b: AB, A, none. Agree on 4 of 7; 9 of 14 marks."""
    other = ReadCase("b", marks("xxx")[:, 0], marks("xx.", "x.."), marks("xxx")[:, 0])
    study = analyse_study(["A", "B"], [two_cases()[0], other], resamples=100)
    chance = (9 / 14) ** 2 + (5 / 14) ** 2
    assert study.fleiss_sites.value == pytest.approx((4 / 7 - chance) / (1 - chance))
    assert (study.sites, study.cases) == (7, 2)
    assert study.system_by_truth is not None
    assert study.system_by_truth.correct == 5


def test_a_lesion_inside_another_raters_is_a_site_of_its_own() -> None:
    """The truth's one lesion pairs with one of the system's two; the other has no voxel left."""
    case = find_sites("a", row("111.22"), {"A": row("111...")}, truth=row("111111"))
    assert case.truth is not None
    assert case.truth.tolist() == [True, False]
    assert case.system.tolist() == [True, True]
    assert case.readers.tolist() == [[True], [False]]


def test_a_study_of_one_reader_has_no_agreement_between_readers() -> None:
    study = analyse_study(["A"], [ReadCase("a", marks("x")[:, 0], marks("x"), None)], resamples=100)
    assert study.pairs == ()
    assert np.isnan(study.fleiss_sites.value)
    assert np.isnan(study.cochran_p)


def test_times_need_both_arms() -> None:
    with pytest.raises(InputRefused, match="no case was read in both arms by A"):
        compare_times([Reading("A", "c", "with", 1.0), Reading("A", "d", "without", 1.0)])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("reader,case,arm,seconds\nA,c,during,3\n", InputRefused),
        ("reader,case,arm,seconds\nA,c,with,-3\n", InputRefused),
        ("reader,case,arm,seconds\nA,c,with,nan\n", InputRefused),
        ("reader,case,arm,seconds\nA,c,with,3\nA,c,with,4\n", InputRefused),
        ("reader,case,arm,seconds\nA,c,with,x\n", UnreadableFile),
        ("a,b\n1,2\n", UnreadableFile),
    ],
)
def test_time_tables_that_are_refused(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "times.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error):
        read_times(path)


@pytest.fixture(scope="module")
def five_readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's design in small: five readers revise the system's masks."""
    root = write_cohort(tmp_path_factory.mktemp("study"), 8)
    times = ["reader,case,arm,seconds"]
    for reader in range(5):
        for case in range(8):
            name = f"c{case:02}"
            system, truth = (read_nifti(root / f / f"{name}.nii.gz") for f in ("other", "truth"))
            revised = simulate_reader(system, truth, 10 * reader + case)
            path = root / "readers" / f"R{reader + 1}" / f"{name}.nii.gz"
            write_nifti(revised, path, dtype=np.uint16)
            times += [f"R{reader + 1},{name},{arm},{s}" for arm, s in
                      (("without", 140 + case), ("with", 80 + reader))]  # fmt: skip
    (root / "times.csv").write_text("\n".join(times) + "\n", encoding="utf-8")
    return root


def invoke(*args: Any) -> str:
    result = CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command(five_readers: Path) -> None:
    root = five_readers
    for case in range(8):
        truth = read_nifti(root / "truth" / f"c{case:02}.nii.gz")
        nothing = truth.with_data(np.zeros(truth.shape))
        write_nifti(nothing, root / "nothing" / f"c{case:02}.nii.gz", dtype=np.uint8)
    output = invoke("--system", root / "other", "--readers", root / "readers", "--truth",
                    root / "truth", "--times", root / "times.csv", "-o", root / "out", "--paper",
                    "--data-kind", "phantoms", "--ignore", root / "nothing",
                    "--resamples", 200)  # fmt: skip
    assert "# Reader study of digital phantoms" in output
    assert "Paper, average of five" in output
    result = json.loads((root / "out" / "readers.json").read_text(encoding="utf-8"))
    assert (result["schema"], result["data"]) == ("cmbnet-readers/2", {"kind": "phantoms"})
    readers = result["study"]["readers"]
    assert [reader["name"] for reader in readers] == ["R1", "R2", "R3", "R4", "R5"]
    system = result["study"]["system_by_truth"]["shares"][0]
    assert all(reader["reader_by_truth"]["shares"][0] > system for reader in readers)
    assert len(result["study"]["pairs"]) == 10
    assert len(result["times"]) == 6
    page = (root / "out" / "readers.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert (root / "out" / "tables.tex").read_text(encoding="utf-8").count("tabular") == 8


def test_a_reader_who_changes_nothing_agrees_with_the_system(five_readers: Path) -> None:
    root = five_readers
    for case in range(8):
        name = f"c{case:02}.nii.gz"
        same = read_nifti(root / "other" / name)
        write_nifti(same, root / "lazy" / "L" / name, dtype=np.uint16)
    invoke("--system", root / "other", "--readers", root / "lazy", "-o", root / "lazy-out",
           "--no-figures", "--resamples", 100, "--data-kind", "phantoms")  # fmt: skip
    result = json.loads((root / "lazy-out" / "readers.json").read_text(encoding="utf-8"))
    assert result["study"]["readers"][0]["system_by_reader"]["shares"] == [1, 0, 0]
    assert result["study"]["system_by_truth"] is None
    assert not (root / "lazy-out" / "readers.html").exists()


def test_refusals_of_the_command(five_readers: Path, tmp_path: Path) -> None:
    root = five_readers
    with pytest.raises(UsageError, match="--labels, or --system and --readers"):
        invoke("--system", root / "other")
    with pytest.raises(UsageError, match="--data-kind is required with -o"):
        invoke("--system", root / "other", "--readers", root / "readers", "-o", tmp_path / "o")
    (tmp_path / "R").mkdir()
    write_nifti(row("..."), tmp_path / "R" / "c00.nii.gz", dtype=np.uint8)
    with pytest.raises(InputRefused, match="must hold the same cases; R and the system differ"):
        invoke("--system", root / "other", "--readers", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefused, match="a folder per reader is required"):
        invoke("--system", root / "other", "--readers", tmp_path / "empty")
