"""The settings of a node, read from YAML; an unknown key is an error that names the nearest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cmbnet.io.settings import check_settings, read_settings

if TYPE_CHECKING:
    from cmbnet.predict import Request

AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""1 to 16 characters, no backslash (PS3.5, value representation AE)."""
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=864_000)]
Megabytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]

_WHAT = "node configuration"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TlsSettings(_Settings):
    """Certificates, PEM. With `ca`, the other side must show one that it has signed."""

    certificate: Path
    key: Path
    ca: Path | None = None


class ListenSettings(_Settings):
    """Who may send, and how much at a time."""

    host: str = "127.0.0.1"
    """Loopback unless configured: an open DICOM port accepts whatever anyone sends."""
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """0 takes a free one (tests)."""
    allowed_callers: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    """AE titles that may open an association; all others are rejected."""
    max_associations: Annotated[int, Field(ge=1, le=512)] = 32
    max_per_address: Annotated[int, Field(ge=1, le=512)] = 32
    """Connections of one network address at a time; all others of it are closed at once."""
    max_object_mb: Megabytes = 2048
    timeout_s: Seconds = 60
    """Silence after which an association is aborted."""
    tls: TlsSettings | None = None


class StorageSettings(_Settings):
    """When disk is refused, and when it is given back."""

    reserve_mb: Annotated[int, Field(ge=0)] = 2048
    """With less free space than this, objects are answered 0xA700 (out of resources)."""
    keep_days: Annotated[float, Field(ge=0)] = 7
    """How long images and results are kept after every destination committed to the results."""
    quarantine_days: Annotated[float, Field(ge=0)] = 90
    """How long studies that were given up, and objects in conflict, are kept for people to see."""
    largest_gb: Annotated[float, Field(gt=0)] | None = None
    """Above this the oldest committed studies go before their time; None sets no limit."""


class SettleSettings(_Settings):
    """When a study is complete: no protocol says so."""

    settle_s: Seconds = 30
    """Silence after the last new image, before the study is looked at."""
    patience_s: Seconds = 300
    """Silence granted to a study with gaps, before that is reported as its result."""


class WorkerSettings(_Settings):
    """What looks at the images, and how long it may."""

    bundle: str = "default"
    backend: str = "auto"
    operating_point: str = "default"
    threads: Count | None = None
    key_images: bool = False
    """Send a picture of each lesion, too, for viewers that show neither SEG nor SR."""
    pdf: bool = False
    """Send the report as a PDF, too."""
    timeout_s: Seconds = 300
    memory_mb: Annotated[int, Field(ge=256)] = 4096
    tries: Count = 3
    """After so many deaths, time-outs or faults a study goes to quarantine, reported as failed."""

    @property
    def request(self) -> Request:
        """What is asked of every study."""
        from cmbnet.predict.request import Request

        return Request(
            operating_point=self.operating_point,
            backend=self.backend,
            dicom_seg=True,
            dicom_sr=True,
            dicom_key_images=self.key_images,
            dicom_pdf=self.pdf,
        )


class DestinationSettings(_Settings):
    """A PACS that gets the results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    ae_title: AeTitle
    host: str
    port: Port
    commitment: bool = True
    """Ask for storage commitment. False takes "stored" for "kept"."""
    commitment_timeout_s: Seconds = 300
    """After so long without an answer the results are sent and asked for again."""
    retry_first_s: Seconds = 5
    retry_longest_s: Seconds = 600
    timeout_s: Seconds = 30
    tls: TlsSettings | None = None


class WatchSettings(_Settings):
    """Logs, metrics, health and the status page."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] | None = 8112
    """None opens no page; 0 takes a free port (tests)."""
    names: tuple[str, ...] = ()
    """Names by which it may be asked for; addresses, localhost and `host` always are."""


class EdgeConfig(_Settings):
    """Everything about a node."""

    root: Path
    """Folder of spool, results, quarantine and journal, on one file system."""
    ae_title: AeTitle = "CMBNET"
    listen: ListenSettings
    destinations: Annotated[tuple[DestinationSettings, ...], Field(min_length=1)]
    storage: StorageSettings = StorageSettings()
    settle: SettleSettings = SettleSettings()
    worker: WorkerSettings = WorkerSettings()
    watch: WatchSettings = WatchSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> EdgeConfig:
        names = [one.name for one in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError(f"names of destinations must differ, got {names}")
        return self


def load_config(path: str | os.PathLike[str]) -> EdgeConfig:
    """Read the settings of a node.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown key or a bad value.
    """
    return read_settings(path, EdgeConfig, what=_WHAT)


def parse_config(values: Any, *, source: str = "settings") -> EdgeConfig:
    """Check settings that were read; see `load_config`."""
    return check_settings(values, EdgeConfig, what=_WHAT, source=source)
