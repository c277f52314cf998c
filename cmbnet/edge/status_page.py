"""The status page: a read-only page without scripts that names studies by pseudonyms.

Every word from outside (reasons, AE titles) goes through `_e`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape as _e
from pathlib import Path
from string import Template
from typing import Final

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.edge.activity import Lately
from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.pseudonyms import Pseudonyms
from cmbnet.edge.records import State, Study

_MOST_STUDIES: Final = 30
_GB: Final = 1e9
_STATES: Final = {
    State.RECEIVED: "receiving",
    State.READY: "waiting",
    State.RUNNING: "running",
    State.RESULT_WRITTEN: "to be sent",
    State.SENT: "sent, not yet committed",
    State.COMMITTED: "committed",
    State.FAILED: "without result",
}

_MARKS: Final = {
    _STATES[State.COMMITTED]: "good",
    "done": "good",
    _STATES[State.FAILED]: "bad",
    "refused": "bad",
    "failed": "bad",
}
"""Coloured words and their colours."""


class StatusPage:
    """The writer of the page.

    Args:
        config: Settings of the node.
        journal: Journal of the node.
        folders: Folders whose disk is measured.
        names: Pseudonyms of studies.
    """

    def __init__(
        self, config: EdgeConfig, journal: JournalReader, folders: Folders, names: Pseudonyms
    ) -> None:
        self._config = config
        self._journal = journal
        self._folders = folders
        self._names = names

    def html(self, lately: Lately, faults: Sequence[str], up_s: float) -> str:
        """Write the page of this moment.

        Args:
            lately: Recent activity.
            faults: Reasons why the node is not ready. Empty if it is ready.
            up_s: Seconds since the start.
        """
        studies = self._journal.last_studies(_MOST_STUDIES)
        state = "Not ready: " + "; ".join(faults) if faults else "Ready to receive"
        return _template().substitute(
            title=_e(f"cmbnet node {self._config.ae_title}"),
            notice=_e(RESEARCH_USE_ONLY),
            state=_e(state),
            state_class="state bad" if faults else "state",
            about=_e(
                f"cmbnet {__version__}, up for {_duration(up_s)}; {_time(time.time())}. Studies go "
                "by pseudonyms: the node's key is needed to trace one back."
            ),
            queue=self._queue(),
            throughput=_throughput(lately),
            refusals=self._refusals(lately),
            disk=self._disk(),
            destinations=self._destinations(studies),
            studies=self._studies(studies),
        )

    def _queue(self) -> str:
        cells = [(_STATES[state], str(count)) for state, count in self._journal.counts().items()]
        return _cells([*cells, ("oldest in work", _duration(self._journal.queue_age_s()))])

    def _disk(self) -> str:
        usage = shutil.disk_usage(self._folders.root)
        free, reserve = self._folders.free_bytes(), self._config.storage.reserve_mb << 20
        words = (
            f"{free / _GB:.1f} GB of {usage.total / _GB:.1f} GB are free; below "
            f"{reserve / _GB:.1f} GB objects are refused"
        )
        # Red below the reserve, yellow below twice of it; `high` must lie below the optimum for it.
        high = min(2 * reserve, usage.total - 1)
        return (
            f'<meter min="0" max="{usage.total}" low="{reserve}" high="{high}" '
            f'optimum="{usage.total}" '
            f'value="{free}">{_e(words)}</meter><p>{_e(words)}.</p>'
        )

    def _refusals(self, lately: Lately) -> str:
        """Write the table of refused connections and objects, with their reasons."""
        counts = _cells(
            [
                ("objects since the start", str(lately.refused_objects)),
                ("callers since the start", str(lately.refused_callers)),
            ]
        )
        rows = [
            [_time(one.at), one.what, one.caller, self._names.scrub(one.reason)]
            for one in lately.refusals
        ]
        heads = ("Time", "What", "From", "Why")
        last = _table("The last, newest first.", heads, rows) if rows else ""
        return f"<dl>{counts}</dl>{last}"

    def _destinations(self, studies: Sequence[Study]) -> str:
        """Write the last state of each destination for the studies on the page."""
        last: dict[str, list[str]] = {}
        for study in studies:
            for delivery in self._journal.deliveries(study.study):
                last.setdefault(
                    delivery.destination,
                    [
                        delivery.destination,
                        self._names(study.study),
                        str(delivery.state),
                        str(delivery.tries),
                        self._names.scrub(delivery.reason),
                    ],
                )
        none = ["", "nothing to send yet", "", ""]
        rows = [last.get(one.name, [one.name, *none]) for one in self._config.destinations]
        return _table(
            "What became of the newest results for each.",
            ("Destination", "Study", "State", "Faults", "Last fault"),
            rows,
        )

    def _studies(self, studies: Sequence[Study]) -> str:
        if not studies:
            return "<p>None yet.</p>"
        rows = (
            [
                self._names(study.study),
                _time(study.received_at),
                study.caller,
                str(study.images or ""),
                _STATES[study.state],
                study.outcome,
                self._names.scrub(study.reason),
            ]
            for study in studies
        )
        return _table(
            f"The last {len(studies)}, newest first.",
            ("Study", "Received", "From", "Images", "State", "Outcome", "Why"),
            rows,
        )


@cache
def _template() -> Template:
    return Template((Path(__file__).parent / "status.html").read_text(encoding="utf-8"))


def _throughput(lately: Lately) -> str:
    mean = f"{lately.seconds_a_study:.1f} s" if lately.studies_an_hour else "none yet"
    return _cells(
        [
            ("objects in the last minute", str(lately.objects_a_minute)),
            ("MB in the last minute", f"{lately.megabytes_a_minute:.1f}"),
            ("studies in the last hour", str(lately.studies_an_hour)),
            ("mean time of a study", mean),
            ("worker restarts", str(lately.worker_restarts)),
        ]
    )


def _cells(cells: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in cells)


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_e(name)}</th>' for name in heads)
    body = "".join(f"<tr>{_row(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll"><table><caption>{_e(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    """Write a row. The first cell is its head, and the last one holds a reason."""
    first, *middle, last = (_e(cell) for cell in cells)
    marked = "".join(
        f'<td class="{_MARKS[cell]}">{cell}</td>' if cell in _MARKS else f"<td>{cell}</td>"
        for cell in middle
    )
    return f'<th scope="row">{first}</th>{marked}<td class="why">{last}</td>'


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _duration(seconds: float) -> str:
    """Write a duration in words.

    Examples:
        >>> _duration(59.4), _duration(3700), _duration(200_000)
        ('59 s', '1 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
