"""Spoil DICOM files in seeded ways and read them: an answer or a `CmbnetError`, nothing else.

``python -m benchmarks.dicom_fuzz`` reads 20,000; ``--case N --keep FOLDER`` writes one of them.
The reader runs in forked processes with limits of address space and of CPU time per case: a crash,
a hang, or a traceback counts against one case, is reported with its number, and the run goes on.
"""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.dicom_mutations import mutate
from cmbnet.errors import CmbnetError
from cmbnet.io.dicom import examine_dicom, read_dicom
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.volume import Volume

DATA = Path("../shared/data")
LARGEST_SEED_BYTES = 400_000
SERIES = 4
"""Files of a whole series that one spoilt file is put among."""

Corpus = list[tuple[str, tuple[bytes, ...]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one forked reader.

    Args:
        memory_mb: Address space above that of the parent.
        cpu_s: CPU time of a case, after which it counts as a hang.
    """

    memory_mb: int = 1536
    cpu_s: float = 20.0


@dataclass(slots=True)
class Tally:
    """What became of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    peak_mb: float = 0.0


def phantom_corpus() -> Corpus:
    """Small series of our own in every way of writing pixels down."""
    affine = np.diag([2.0, 0.8, 0.8, 1.0])[:, [2, 1, 0, 3]]
    grey = np.random.default_rng(7).random((8, 40, 36)).astype(np.float32)
    corpus: Corpus = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for vendor in Vendor:
            for enhanced in (False, True):
                kind = f"{vendor}-{'enhanced' if enhanced else 'classic'}"
                write_dicom_series(
                    Volume(grey, affine), root / kind, vendor=vendor, enhanced=enhanced
                )
                folder = max((root / kind).iterdir(), key=lambda path: path.name)
                corpus.append((kind, _contents(folder)))
        for syntax in (
            ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
            RLELossless, JPEG2000Lossless, JPEGLSLossless,
        ):  # fmt: skip
            files = tuple(_in_syntax(content, syntax) for content in corpus[0][1][:SERIES])
            corpus.append((syntax.name, files))
    return corpus


def _in_syntax(content: bytes, syntax: pydicom.uid.UID) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
    stream = io.BytesIO()
    little, implicit = syntax.is_little_endian, syntax.is_implicit_VR
    pydicom.dcmwrite(stream, dataset, little_endian=little, implicit_vr=implicit)
    return stream.getvalue()


def shared_corpus() -> Corpus:
    """The first files of every folder of the shared data, where it is there."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(DATA.rglob("*")) if DATA.is_dir() else []:
        if path.is_file() and 132 < path.stat().st_size < LARGEST_SEED_BYTES and _marked(path):
            folders.setdefault(path.parent, []).append(path)
    return [
        (str(folder.relative_to(DATA)), tuple(path.read_bytes() for path in paths[:SERIES]))
        for folder, paths in sorted(folders.items())
    ]


def _marked(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _contents(folder: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.iterdir())[:SERIES])


def spoilt_case(corpus: Corpus, seed: int, number: int) -> tuple[str, list[bytes]]:
    """The files of a case: one spoilt file alone, or among others of its series."""
    random = Random(f"{seed}/{number}")
    name, files = random.choice(corpus)
    victim = random.randrange(len(files))
    spoilt = mutate(files[victim], random)
    if len(files) == 1 or random.random() < 0.6:
        return name, [spoilt]
    return name, [*files[:victim], spoilt, *files[victim + 1 :]]


def read_case(folder: Path) -> str:
    """Judge all series and read two of them, as a user would who names them."""
    try:
        keys = [verdict.key for verdict in examine_dicom(folder).verdicts]
    except CmbnetError:
        return "refused"
    read = 0
    for key in keys[:2]:
        try:
            volume = read_dicom(folder, series=key)
        except CmbnetError:
            continue
        if not np.isfinite(volume.data).all():
            return "traceback: values that are not finite"
        read += 1
    return "read" if read else "judged"


def run(corpus: Corpus, numbers: range, *, seed: int, limits: Limits) -> Tally:
    """Read all cases in forked readers; a reader that dies is replaced."""
    tally = Tally()
    left = numbers
    while left:
        done = 0
        for number, outcome, seconds in _reader(corpus, left, seed, limits):
            done += 1
            tally.outcomes[outcome.split(":")[0]] += 1
            tally.slowest = max(tally.slowest, (seconds, number))
            if outcome.split(":")[0] not in ("read", "judged", "refused"):
                tally.faults.append((number, outcome))
                _say(f"case {number}: {outcome}")
            if number % 1000 == 999:
                _say(f"{number + 1} cases: {dict(tally.outcomes)}")
        left = left[done:]
    tally.peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return tally


def _reader(
    corpus: Corpus, numbers: range, seed: int, limits: Limits
) -> Iterator[tuple[int, str, float]]:
    """One forked process; yields a case at a time until it is through or dead."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_reader(corpus, numbers, seed, limits, writing)
    os.close(writing)
    through = 0
    with os.fdopen(reading, "r") as stream:
        for line in stream:
            seconds, _, outcome = line.rstrip("\n").partition(" ")
            yield numbers[through], outcome, float(seconds)
            through += 1
    _, status = os.waitpid(child, 0)
    if through < len(numbers):
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        kind = "hang" if killed == signal.SIGPROF else "crash"
        yield numbers[through], f"{kind}: signal {killed}, status {status}", limits.cpu_s


def _be_reader(corpus: Corpus, numbers: range, seed: int, limits: Limits, pipe: int) -> None:
    """Never returns."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + (limits.memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Of the C libraries; what Python would print is caught and counted.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as name:
        for number in numbers:
            _, files = spoilt_case(corpus, seed, number)
            folder = Path(name)
            for place, content in enumerate(files):
                (folder / f"{place}").write_bytes(content)
            start = time.process_time()
            # Its default action ends the process even inside a decoder.
            signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)
            try:
                outcome = read_case(folder)
            except BaseException as error:
                outcome = f"traceback: {type(error).__name__}: {error!r}"[:300].replace("\n", " ")
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(pipe, f"{time.process_time() - start:.3f} {outcome}\n".encode())
            for place in range(len(files)):
                (folder / f"{place}").unlink()
    os._exit(0)


@functools.cache
def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Run the cases; exit code 1 if one of them did what none may do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only write this case to --keep")
    parser.add_argument("--keep", type=Path, default=Path("spoilt"))
    options = parser.parse_args()
    corpus = phantom_corpus() + shared_corpus()
    if options.case is not None:
        name, files = spoilt_case(corpus, options.seed, options.case)
        options.keep.mkdir(parents=True, exist_ok=True)
        for place, content in enumerate(files):
            (options.keep / f"{place}").write_bytes(content)
        _say(f"{len(files)} files of {name} in {options.keep}")
        return 0
    _say(f"{len(corpus)} series, {sum(len(files) for _, files in corpus)} files to spoil")
    start = time.perf_counter()
    numbers = range(options.first, options.first + options.cases)
    tally = run(corpus, numbers, seed=options.seed, limits=Limits())
    _say(
        f"{options.cases} cases in {time.perf_counter() - start:.0f} s: {dict(tally.outcomes)}; "
        f"slowest {tally.slowest[0]:.1f} s of CPU (case {tally.slowest[1]}), "
        f"peak {tally.peak_mb:.0f} MiB"
    )
    for number, outcome in tally.faults:
        _say(f"case {number}: {outcome}")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
