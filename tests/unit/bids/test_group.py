"""The table and the page of a cohort: numbers by hand, and the page in a browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cmbnet.bids.group import shares, write_group
from cmbnet.bids.record import CASES, RECORD, Record
from cmbnet.errors import UnreadableFile
from cmbnet.report.tables import SUMMARY_COLUMNS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def picture(shade: int) -> str:
    stream = io.BytesIO()
    Image.new("L", (120, 120), shade).save(stream, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def done(subject: str, lesions: int, *, session: str = "", **more: Any) -> Record:
    case = f"sub-{subject}" + (f"_ses-{session}" if session else "") + "_swi"
    row = dict.fromkeys(SUMMARY_COLUMNS) | {
        "case": case, "lesions": lesions, "small": lesions, "large": 0, "score": 0.9,
        "positive": int(lesions > 0), "bundle": "tiny", "bundle_sha256": "0" * 64,
        "operating_point": "balanced", "warnings": "blurred" if lesions > 2 else "",
        "pattern": "none", "lesion_volume_mm3": 9.5 * lesions,
    }  # fmt: skip
    return Record(
        case=case, subject=subject, session=session, scan=f"sub-{subject}/anat/{case}.nii.gz",
        status="done", row=row, voxel_mm="0.50 x 0.50 x 2.00",
        picture=picture(100 + lesions) if lesions else "", **more,
    )  # fmt: skip


def write(out: Path, *records: Record) -> None:
    for record in records:
        folder = out / CASES / record.case
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(record.model_dump_json())
        if record.status == "done":
            (folder / "result.json").touch()
            (folder / "report.html").write_text(f"report of {record.case}")


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cmbnet_group.tsv").open(newline="") as stream:
        return {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}


def test_one_table_joins_results_and_participants(tmp_path: Path) -> None:
    write(
        tmp_path / "out",
        done("1", 3, session="a", protocol={"EchoTime": 0.02, "MagneticFieldStrength": 3}),
        done("1", 0, session="b"),
        done("2", 0),
        Record(case="sub-3", subject="3", status="refused", reason="sub-3 holds no SWI"),
        done("4", 7),
    )
    (tmp_path / "out/cases/sub-4_swi/result.json").unlink()  # its run was cut off
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tscore\tsite\nsub-1\t70\t5\tnorth\nsub-2\t\t6\tsouth\n"
    )
    page = write_group(tmp_path, tmp_path / "out").read_text()
    rows = table(tmp_path / "out")
    first = rows["sub-1/anat/sub-1_ses-a_swi.nii.gz"]
    assert (first["lesions"], first["age"], first["site"], first["score"]) == (
        "3", "70", "north", "0.9",
    )  # fmt: skip
    assert rows["sub-2/anat/sub-2_swi.nii.gz"]["age"] == "n/a"
    assert (rows["n/a"]["status"], rows["n/a"]["lesions"]) == ("refused", "n/a")
    assert rows["sub-4/anat/sub-4_swi.nii.gz"]["reason"] == "its run was cut off; run it again"
    words = json.loads((tmp_path / "out/cmbnet_group.json").read_text())
    assert list(words) == list(first)
    assert "1 of 2 subjects have a scan that is called positive: 50 % (9 to 91)" in page
    assert "3 T, TE 20 ms, 0.50 x 0.50 x 2.00 mm" in page
    assert "different models" not in page


def test_shares_count_subjects_once() -> None:
    rows: list[dict[str, object]] = [
        {"participant_id": "sub-1", "status": "done", "positive": 1, "lesions": 4, "site": "n"},
        {"participant_id": "sub-1", "status": "done", "positive": 0, "lesions": 0, "site": "n"},
        {"participant_id": "sub-2", "status": "done", "positive": 0, "lesions": 2, "site": "n"},
        {"participant_id": "sub-3", "status": "failed", "site": "s"},
    ]
    north, south = shares(rows, "site")
    assert (north.subjects, north.positive, north.scans, north.median, north.most) == (
        2,
        1,
        3,
        2,
        4,
    )
    assert (south.subjects, south.missing, south.median) == (0, 1, None)


def test_results_of_two_models_are_noticed(tmp_path: Path) -> None:
    other = done("2", 1)
    other.row["operating_point"] = "strict"
    write(tmp_path, done("1", 1), other)
    assert "made with 2 different models" in write_group(tmp_path, tmp_path).read_text()


def test_what_is_no_table_of_participants(tmp_path: Path) -> None:
    write(tmp_path, done("1", 1))
    (tmp_path / "participants.tsv").write_text("name\nx\n")
    with pytest.raises(UnreadableFile, match="a column participant_id is required"):
        write_group(tmp_path, tmp_path)


def test_text_of_others_does_not_become_markup(tmp_path: Path) -> None:
    write(
        tmp_path, done("1", 1), done("2", 0),
        Record(case="sub-3", subject="3", status="failed", reason="<script>alert(1)</script>"),
    )  # fmt: skip
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsite\nsub-1\t<b>north</b>\nsub-2\ts\n"
    )
    page = write_group(tmp_path, tmp_path).read_text()
    assert page.count("<script") == 1
    assert "<b>" not in page


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 2,000 scans: number n has n % 10 lesions, and site a or b in turns."""
    out = tmp_path_factory.mktemp("cohort")
    write(out, *(done(f"{n:04}", n % 10) for n in range(1999)))
    write(out, Record(case="sub-none", subject="none", status="refused", reason="no SWI in it"))
    lines = [f"sub-{n:04}\t{'ab'[n % 2]}\n" for n in range(1999)]
    (out / "participants.tsv").write_text("participant_id\tsite\n" + "".join(lines))
    return write_group(out, out)


@pytest.fixture
def browsed(cohort: Path, tmp_path: Path) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 2200})
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(cohort.as_uri())
        yield page
        page.screenshot(path=os.environ.get("CMBNET_SCREENSHOT", str(tmp_path / "page.png")))
        browser.close()
    assert faults == []


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.browser
def test_the_page_sorts_filters_and_turns_in_a_browser(browsed: Any) -> None:
    page = browsed

    def names(last: int = 1) -> list[str]:
        found: list[str] = page.locator("#scans tbody tr:visible th").all_text_contents()
        return found[:last]

    def pictures() -> list[str]:
        found: list[str] = page.locator("#pictures figure:visible").all_text_contents()
        return [text.strip() for text in found]

    assert page.locator("#shown").text_content() == "2000 of 2000 scans"
    assert names() == ["sub-0009_swi"]  # the first of those with most lesions
    assert len(pictures()) == 48
    assert pictures()[0] == "9: sub-0009_swi"
    page.click("#scans button:text-is('Lesions')")
    assert names() == ["sub-0000_swi"]
    page.click("#scans button:text-is('Lesions')")
    assert names() == ["sub-0009_swi"]
    page.select_option("#filters select[data-column='9']", "b")
    assert page.locator("#shown").text_content() == "999 of 2000 scans"
    page.fill("#least", "9")
    assert page.locator("#shown").text_content() == "199 of 2000 scans"
    assert page.locator("#page").text_content() == "Page 1 of 5: 199 scans with lesions"
    page.click("#after")
    assert pictures()[0] == "9: sub-0489_swi"
    page.fill("#search", "sub-0019")
    assert names(3) == ["sub-0019_swi"]
    page.fill("#least", "")
    page.fill("#search", "no swi in")
    page.select_option("#filters select[data-column='9']", "")
    assert names(3) == ["sub-none"]
    assert pictures() == []
    page.fill("#search", "")
    page.select_option("#filters select[data-column='10']", "unknown")  # of the refused one
    assert names(9999) == ["sub-none"]
    page.select_option("#filters select[data-column='10']", "")
    assert len(names(9999)) == 2000
    link = page.locator("#scans tbody tr:visible a").first.get_attribute("href")
    assert (link, page.locator(".bars > div").count()) == ("cases/sub-0009_swi/report.html", 6)
