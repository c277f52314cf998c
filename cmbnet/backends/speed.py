"""How quick the installed backends are here: measured once for a machine and a model, and kept.

Backends differ by a factor of three between processors, and none is the best on all of them. A
file in the user's cache holds what was measured. Its name is a hash of everything that it depends
on, so a new processor, model or runtime is measured anew. Without the file nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SLICES: Final = 75
"""Slices of an ordinary scan, for which start and slices are weighed against each other."""

WORTH: Final = 0.9
"""Another backend must take less than this share of the first one's time for a scan."""

CPUINFO: Final = Path("/proc/cpuinfo")
_FEATURES: Final = (
    "vendor_id", "cpu family", "model", "model name", "flags",
    "CPU implementer", "CPU part", "Features",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of a backend.

    Args:
        ms_per_slice: Time of the network alone for one slice, ms.
        start_ms: Time to import the runtime and load the network, ms.
        fault: Reason why it could not be measured. Empty if it was measured.
    """

    ms_per_slice: float = 0.0
    start_ms: float = 0.0
    fault: str = ""

    @property
    def scan_ms(self) -> float:
        """Time of the network for one scan in a new process."""
        return self.start_ms + SLICES * self.ms_per_slice


@dataclass(frozen=True, slots=True)
class Contest:
    """The backends that could run a model here, and what was measured of them.

    Args:
        names: Backends in the order of the table.
        file: File that keeps the measurement.
        speeds: Speeds by the name of the backend. Empty if nothing was measured.
    """

    names: tuple[str, ...]
    file: Path
    speeds: Mapping[str, Speed]

    @property
    def choice(self) -> tuple[str, str]:
        """The first backend of the table, or one that is clearly quicker for a scan; and why."""
        first = self.names[0]
        ran = {n: s.scan_ms for n, s in self.speeds.items() if n in self.names and not s.fault}
        if not ran:
            return first, "the first choice that runs here; none was measured yet"
        best = min(ran, key=lambda name: ran[name])
        if first in ran and ran[best] >= WORTH * ran[first]:
            return first, "the first choice that runs here; no other was measured clearly quicker"
        return best, f"measured the quickest here, {self.speeds[best].ms_per_slice:.1f} ms a slice"


def contest(contenders: Mapping[str, str], *, model: str, threads: int) -> Contest:
    """Return what is known of backends on this machine.

    Args:
        contenders: Version and precision of each backend, by its name, in the order of the table.
        model: Hash of the bundle.
        threads: Number of threads.
    """
    parts = (*processor(), str(threads), model, *contenders.items())
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    file = cache_folder() / "speed" / f"{key}.json"
    return Contest(tuple(contenders), file, _read(file))


def keep(file: Path, speeds: Mapping[str, Speed]) -> bool:
    """Keep what was measured; return whether the file system took it."""
    from cmbnet.io import write_text_atomically

    try:
        write_text_atomically(file, json.dumps({n: asdict(s) for n, s in speeds.items()}) + "\n")
    except OSError:
        return False
    return True


def keep_checked(file: Path, content: bytes) -> None:
    """Keep bytes behind their hash, if the file system takes them."""
    from cmbnet.io import write_bytes_atomically

    with suppress(OSError):
        write_bytes_atomically(file, hashlib.sha256(content).digest() + content)


def read_checked(file: Path) -> bytes | None:
    """Read what `keep_checked` kept; None if it is missing or damaged."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    digest, content = kept[:32], kept[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def cache_folder() -> Path:
    """The folder of this user for what can be made again; it may not exist, or be read-only."""
    from platformdirs import user_cache_path

    found = user_cache_path("cmbnet", appauthor=False)
    # The path of a user without a home is relative. Nothing can be written below the null device.
    return found if found.is_absolute() else Path(os.devnull)


def processor() -> Sequence[str]:
    """Kind and features of the processor, as the system states them."""
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as file:
            first = file.read(8192).partition("\n\n")[0]  # of all processors it would take long
    except OSError:
        return platform.system(), platform.machine(), platform.processor()
    lines = [line for line in first.splitlines() if line.partition(":")[0].strip() in _FEATURES]
    return platform.machine(), *lines


def _read(file: Path) -> dict[str, Speed]:
    """Read the speeds that a file keeps. There are none if it is missing or damaged."""
    try:
        return {
            str(name): Speed(float(s["ms_per_slice"]), float(s["start_ms"]), str(s["fault"]))
            for name, s in json.loads(file.read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
