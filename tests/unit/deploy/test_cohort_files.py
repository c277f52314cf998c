"""Manifests of Kubernetes and the descriptor of Boutiques, checked by their own validators."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import boutiques
import kubernetes_validate
import pytest
import yaml

from cmbnet import __version__
from cmbnet.cli.bids import command

DEPLOY = Path(__file__).parents[3] / "deploy"
DESCRIPTOR = DEPLOY / "bids" / "boutiques.json"
MANIFESTS = [
    (file.name, manifest)
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text())
]


@pytest.mark.parametrize(
    ("name", "manifest"), MANIFESTS, ids=[f"{name}-{one['kind']}" for name, one in MANIFESTS]
)
def test_kubernetes_would_take_the_manifest(name: str, manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_manifest_would_be_noticed() -> None:
    wrong = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"n": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def pods() -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for _, one in MANIFESTS if "template" in one["spec"]]


def test_no_pod_is_root_or_writes_to_its_image() -> None:
    assert len(pods()) == 3
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["image"].endswith(f":{__version__}")
        assert set(container["resources"]) == {"requests", "limits"}


def test_the_pods_of_a_cohort_take_a_part_each() -> None:
    (job,) = (one for _, one in MANIFESTS if one["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (line,) = container["args"]
    for index, part in ((0, "1/20"), (19, "20/20")):
        words = shlex.split(line.replace("$((JOB_COMPLETION_INDEX + 1))", str(index + 1)))
        assert words[:3] == ["exec", "cmbnet", "bids"]
        given, _, _ = command.make_parser(
            command.make_context("bids", ["--help"], resilient_parsing=True)
        ).parse_args(words[3:])
        assert given["shard"] == part
    assert job["spec"]["completions"] == 20


def test_triton_scales_on_a_metric_that_triton_has() -> None:
    (scaler,) = (one for _, one in MANIFESTS if one["kind"] == "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    # docs/user_guide/metrics.md of Triton lists it.
    assert metric["pods"]["metric"]["name"] == "nv_inference_pending_request_count"


def test_boutiques_accepts_the_descriptor() -> None:
    boutiques.validate(str(DESCRIPTOR))
    descriptor = json.loads(DESCRIPTOR.read_text())
    assert descriptor["tool-version"] == __version__


def test_the_descriptor_names_options_that_exist(tmp_path: Path) -> None:
    inputs = json.loads(DESCRIPTOR.read_text())["inputs"]
    flags = {one["command-line-flag"] for one in inputs if "command-line-flag" in one}
    assert flags <= {name for option in command.params for name in option.opts}
    asked = {
        "bids_dir": "study", "output_dir": "out", "level": "participant", "jobs": 2,
        "participant_label": ["01", "02"],
    }  # fmt: skip
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    said = boutiques.execute("simulate", str(DESCRIPTOR), "-i", str(tmp_path / "asked.json"))
    assert re.sub(r" +", " ", said.stdout).strip() == (
        "cmbnet bids study out participant --participant-label 01 02 --jobs 2"
    )
