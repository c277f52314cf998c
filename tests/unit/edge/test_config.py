"""Settings: what is unknown is refused and the nearest named; what is dangerous is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmbnet.edge.config import load_config, parse_config
from cmbnet.errors import UsageError


def least(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "root": "/var/lib/cmbnet",
        "listen": {"allowed_callers": ["SCANNER1"]},
        "destinations": [
            {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 4242},
        ],
    }
    return values | changes


def test_defaults_are_cautious() -> None:
    config = parse_config(least())
    assert config.listen.host == "127.0.0.1"
    assert config.watch.host == "127.0.0.1"
    assert config.destinations[0].commitment


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storrage": {}}, r"unknown key 'storrage' \(nearest: 'storage'\)"),
        (
            {"listen": {"allowed_callers": ["A"], "prot": 104}},
            r"unknown key 'listen.prot' \(nearest: 'port'\)",
        ),
        (
            {"destinations": [{"name": "p", "ae_tite": "P", "host": "h", "port": 1}]},
            r"unknown key 'destinations.0.ae_tite' \(nearest: 'ae_title'\)",
        ),
        (
            {"listen": {"allowed_callers": ["A"], "tls": {"cert": "a", "key": "b"}}},
            r"unknown key 'listen.tls.cert' \(nearest: 'certificate'\)",
        ),
        ({"listen": {}}, "listen.allowed_callers is required"),
        ({"listen": {"allowed_callers": []}}, "at least 1 item"),
        ({"destinations": []}, "at least 1 item"),
        ({"ae_title": "A" * 17}, "ae_title"),
        ({"ae_title": "A\\B"}, "ae_title"),
        ({"settle": {"settle_s": -1}}, "greater than 0"),
        ({"destinations": least()["destinations"] * 2}, "names of destinations must differ"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_config(least(**changes))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a YAML node configuration is required"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="a node configuration is a mapping of settings, got list"):
        load_config(tmp_path / "list.yaml")
