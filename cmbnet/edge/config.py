"""The settings of a node, read from YAML. An unknown key is an error that names the nearest key."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cmbnet.errors import UsageError
from cmbnet.io.settings import check_settings, read_settings

if TYPE_CHECKING:
    from cmbnet.predict import Request

AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""An AE title: 1 to 16 characters without a backslash (PS3.5, value representation AE)."""
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=864_000)]
Megabytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]

_WHAT = "node configuration"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TlsSettings(_Settings):
    """PEM certificates. With `ca`, the other side must show a certificate that `ca` has signed."""

    certificate: Path
    key: Path
    ca: Path | None = None

    def server_context(self) -> ssl.SSLContext:
        """Make the context for callers. With an authority, they must show a certificate.

        Raises:
            UsageError: If a file is missing, or is no certificate or key.
        """
        return self._filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def client_context(self) -> ssl.SSLContext:
        """Make the context for outgoing connections. It trusts the authority, or the system's.

        Raises:
            UsageError: If a file is missing, or is no certificate or key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None:
            context.load_default_certs()
        return self._filled(context)

    def _filled(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.ca is not None:
                context.load_verify_locations(self.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError, too
            raise UsageError(
                f"PEM files are required for TLS, {self.certificate}, {self.key} or {self.ca} "
                f"cannot be used: {error}"
            ) from error
        return context


class ListenSettings(_Settings):
    """Settings of the receiver: who may send, and how much at a time."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is loopback: an open DICOM port accepts everything."""
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """Port to listen on. 0 takes a free one (tests)."""
    allowed_callers: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    """AE titles that may open an association. All others are rejected."""
    max_associations: Annotated[int, Field(ge=1, le=512)] = 32
    max_per_address: Annotated[int, Field(ge=1, le=512)] = 32
    """Largest number of connections of one network address. Further ones are closed at once."""
    max_object_mb: Megabytes = 2048
    timeout_s: Seconds = 60
    """Seconds of silence after which an association is aborted."""
    tls: TlsSettings | None = None


class StorageSettings(_Settings):
    """Settings of the disk: when objects are refused, and when files are removed."""

    reserve_mb: Annotated[int, Field(ge=0)] = 2048
    """With less free space than this, the node refuses objects with 0xA700 (out of resources)."""
    keep_days: Annotated[float, Field(ge=0)] = 7
    """Days that images and results are kept after every destination has committed to them."""
    quarantine_days: Annotated[float, Field(ge=0)] = 90
    """Days that studies that were given up, and objects in conflict, are kept for inspection."""
    largest_gb: Annotated[float, Field(gt=0)] | None = None
    """Size above which the oldest committed studies are removed early. None sets no limit."""


class SettleSettings(_Settings):
    """Settings that decide when a study is complete, because no protocol says so."""

    settle_s: Seconds = 30
    """Seconds of silence after the last new image before the study is analysed."""
    patience_s: Seconds = 300
    """Seconds of silence for a study with gaps before the gaps are reported as its result."""


class WorkerSettings(_Settings):
    """Settings of the worker: model, runtime and limits."""

    bundle: str = "default"
    backend: str = "auto"
    operating_point: str = "default"
    threads: Count | None = None
    key_images: bool = False
    """Whether to send a picture of each lesion, too, for viewers without SEG and SR."""
    pdf: bool = False
    """Whether to send the report as a PDF, too."""
    phase: bool = True
    """Whether to tell calcifications from microbleeds by the phase of a study that has it."""
    follow_up: bool = False
    """Whether to compare a study with the patient's first one that `StorageSettings` keeps."""
    timeout_s: Seconds = 300
    memory_mb: Annotated[int, Field(ge=256)] = 4096
    tries: Count = 3
    """Number of deaths, time-outs or faults after which a study fails and goes to quarantine."""

    @property
    def request(self) -> Request:
        """What is asked of every study."""
        from cmbnet.predict.request import Request

        return Request(
            operating_point=self.operating_point,
            backend=self.backend,
            phase_series=None if self.phase else "none",
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
    """Whether to ask for storage commitment. False takes "stored" for "kept"."""
    commitment_timeout_s: Seconds = 300
    """Seconds without an answer after which results are sent, and asked about, again."""
    retry_first_s: Seconds = 5
    retry_longest_s: Seconds = 600
    timeout_s: Seconds = 30
    tls: TlsSettings | None = None


class WatchSettings(_Settings):
    """Settings of logs, metrics, health and the status page."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] | None = 8112
    """Port of the page. None opens no page. 0 takes a free port (tests)."""
    names: tuple[str, ...] = ()
    """Names that a Host header may have, besides addresses, localhost and `host`."""


class EdgeConfig(_Settings):
    """All settings of a node."""

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
    """Check settings that are already read; see `load_config`."""
    return check_settings(values, EdgeConfig, what=_WHAT, source=source)
