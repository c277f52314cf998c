"""No container engine runs here: what can be checked without one is checked."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cmbnet.cli import LazyGroup, group

ROOT = Path(__file__).parents[3]
DOCKERFILES = (
    "Dockerfile", "deploy/bids/Dockerfile", "deploy/triton/Dockerfile", "deploy/edge/Dockerfile",
)  # fmt: skip
SCRIPTS = ("deploy/tensorrt/build_engine.sh", "deploy/slurm/array.sh")


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text())
    lines = [line.strip() for line in text.splitlines()]
    return [
        (line.split(None, 1)[0], line.split(None, 1)[1])
        for line in lines
        if line and not line.startswith("#")
    ]


def known(words: list[str]) -> None:
    """Fail unless the words after ``cmbnet`` are a command and options it has."""
    assert isinstance(group, LazyGroup)
    command: click.Command | None = group
    context = click.Context(group)
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            command = command.get_command(context, word)
            assert command is not None, words
    assert command is not None
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= options, words


def cmbnet_calls(shell: str) -> list[list[str]]:
    """Words after each call of cmbnet in a shell line."""
    calls = []
    for part in re.split(r"&&|\|\||;|\n", shell):
        words = shlex.split(part.strip(), comments=True)
        words = words[1:] if words[:1] == ["exec"] else words
        if words[:1] == ["cmbnet"]:
            calls.append(words[1:])
    return calls


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [program, "--failure-threshold", "style", ROOT / name],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && sudo pip install x\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", tmp_path / "Dockerfile"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_is_copied_exists_and_is_in_the_context(name: str) -> None:
    allowed = {
        line[1:].strip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = [arguments for word, arguments in instructions(name) if word == "COPY"]
    assert copies
    for arguments in copies:
        words = arguments.split()
        if words[0].startswith("--from="):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), f"{name} copies {source}"
            assert source.split("/")[0] in allowed, f".dockerignore hides {source}"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_call_of_cmbnet_exists(name: str) -> None:
    for word, arguments in instructions(name):
        if word == "RUN":
            for call in cmbnet_calls(arguments):
                known(call)
    started = [
        yaml.safe_load(arguments)
        for word, arguments in instructions(name)
        if word in ("ENTRYPOINT", "CMD")
    ]
    program, *words = (word for part in started for word in part)
    assert program in ("cmbnet", "tritonserver")
    if program == "cmbnet":
        known(words)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_does_not_run_as_root_and_installs_the_wheel(name: str) -> None:
    words = instructions(name)
    last_stage = max(i for i, (word, _) in enumerate(words) if word == "FROM")
    final = words[last_stage:]
    assert [arguments for word, arguments in final if word == "USER"] not in ([], ["root"])
    assert any("/wheels" in arguments for word, arguments in final if word == "RUN")
    extras = re.findall(r"\[([a-z,]+)\]", " ".join(arguments for _, arguments in final))
    declared = (ROOT / "setup.py").read_text()
    for extra in (one for found in extras for one in found.split(",") if "/" not in one):
        assert f'"{extra}": [' in declared or f'EXTRAS["{extra}"] = [' in declared, extra


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())[
        "services"
    ]
    return services


def test_compose_builds_from_files_that_exist() -> None:
    for service in compose().values():
        context = (ROOT / "deploy" / service["build"]["context"]).resolve()
        assert context == ROOT
        assert service["build"]["dockerfile"] in DOCKERFILES


def test_compose_calls_commands_that_exist_and_listens_on_this_machine_only() -> None:
    services = compose()
    known([*services["predict"]["entrypoint"][1:], *services["predict"]["command"]])
    assert services["predict"]["network_mode"] == "none"
    assert all(port.startswith("127.0.0.1:") for port in services["triton"]["ports"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse_and_call_commands_that_exist(name: str) -> None:
    script = ROOT / name
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n", script], timeout=10).returncode == 0
    assert script.stat().st_mode & 0o111
    calls = cmbnet_calls(script.read_text())
    assert calls
    for call in calls:
        known(call)


def test_the_engine_script_refuses_an_unknown_kind() -> None:
    bash = shutil.which("bash")
    assert bash
    wrong = subprocess.run(
        [bash, ROOT / SCRIPTS[0], "jetson", "default", "out"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert wrong.returncode == 2
    assert "rtx or datacenter" in wrong.stderr
