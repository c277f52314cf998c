"""Orthanc, Debian's PACS, started on loopback with a folder of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

_PLUGINS = Path("/usr/share/orthanc/plugins")
_START_S = 60.0


def orthanc_program() -> str:
    """Path of the program; skips the test where it or its DICOMweb plugin is missing."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("Orthanc is not installed (apt install orthanc orthanc-dicomweb)")
    if not (_PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("the DICOMweb plugin is not installed (apt install orthanc-dicomweb)")
    return program


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A PACS that knows one modality, the node.

    Args:
        folder: For its database and settings.
        node_port: Where it reports storage commitment to.
        node_title: AE title of the node.
    """

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, *, node_port: int, node_title: str = "CMBNET") -> None:
        self.folder = folder
        self.dicom_port = free_port()
        self.http_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {"node": [node_title, "127.0.0.1", node_port]},
            "OverwriteInstances": False,
            "StableAge": 1,
            "Plugins": [str(_PLUGINS / "libOrthancDicomWeb.so")],
            "DicomWeb": {"Enable": True},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [orthanc_program(), str(self.folder / "orthanc.json")], stdout=log, stderr=log
            )
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            try:
                self.get("/system")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as said:
            return json.loads(said.read())

    def bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as said:
            return bytes(said.read())

    def find(self, study: str) -> list[dict[str, Any]]:
        """Instances of a study by QIDO-RS."""
        found: list[dict[str, Any]] = self.get(
            f"/dicom-web/studies/{study}/instances?includefield=00080060&limit=1000"
        )
        return found

    def modalities(self, study: str) -> list[str]:
        """Modality of every instance of a study, sorted."""
        return sorted(one["00080060"]["Value"][0] for one in self.find(study))


__all__ = ["Orthanc", "free_port", "orthanc_program"]
