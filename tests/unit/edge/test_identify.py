"""Reading in a process of its own: the same answers, and one for objects that it cannot survive."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmbnet.edge.contents import contents_of, read_values
from cmbnet.edge.identify import ObjectReader
from cmbnet.edge.spool import ObjectRefused, identify
from cmbnet.edge.worker import WorkerStopped
from tests.helpers.edge_peers import study_files

WANTED = ("SOPClassUID", "StudyInstanceUID")


@pytest.fixture
def reader() -> Iterator[ObjectReader]:
    made = ObjectReader()
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (path,) = study_files(tmp_path, "a", slices=1)
    return path


def pid(reader: ObjectReader) -> int:
    process = reader.worker._process
    assert process is not None
    assert process.pid is not None
    return process.pid


def test_it_reads_what_the_node_would_in_another_process(reader: ObjectReader, image: Path) -> None:
    assert reader.values(image, WANTED) == read_values(image, WANTED)
    assert reader.contents(image) == contents_of(image)
    assert pid(reader) != os.getpid()


def test_what_cannot_be_read_is_refused_and_the_process_stays(
    reader: ObjectReader, image: Path
) -> None:
    reader.values(image, WANTED)
    before = pid(reader)
    with pytest.raises(ValueError, match="no DICOM mark"):
        reader.values(Path(__file__), WANTED)
    with pytest.raises(ValueError, match=r"^No such file or directory$"):
        reader.contents(image.with_name("1.2.3.dcm"))
    assert pid(reader) == before


def test_what_hangs_is_refused_and_the_next_is_read(
    reader: ObjectReader, image: Path, tmp_path: Path
) -> None:
    reader.worker.timeout_s = 1.0
    endless = tmp_path / "endless"
    os.mkfifo(endless)
    with pytest.raises(ObjectRefused, match="the object took longer than 1 s") as refused:
        identify(endless, "1.2", "1.3", reader.values)
    assert refused.value.status == 0xC000
    reader.worker.timeout_s = 60.0
    assert reader.values(image, WANTED) == read_values(image, WANTED)


def test_a_killed_process_is_replaced(reader: ObjectReader, image: Path) -> None:
    reader.values(image, WANTED)
    os.kill(pid(reader), signal.SIGKILL)
    assert reader.values(image, WANTED) == read_values(image, WANTED)


def test_what_kills_the_process_twice_is_refused(
    reader: ObjectReader, image: Path, tmp_path: Path
) -> None:
    deadly = tmp_path / "deadly"
    os.mkfifo(deadly)
    reader.values(image, WANTED)
    killed: set[int] = set()

    def kill() -> None:
        while len(killed) < 2:
            with contextlib.suppress(AssertionError, OSError):
                # The other end opens only when the process is about to read.
                end = os.open(deadly, os.O_WRONLY | os.O_NONBLOCK)
                killed.add(pid(reader))
                os.kill(pid(reader), signal.SIGKILL)
                os.close(end)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill)
        with pytest.raises(ValueError, match=r"the worker died \(signal 9\)"):
            reader.values(deadly, WANTED)
        killer.result(30)
    assert len(killed) == 2
    assert reader.values(image, WANTED) == read_values(image, WANTED)


def test_after_the_end_nothing_is_read(reader: ObjectReader, image: Path) -> None:
    reader.close()
    with pytest.raises(WorkerStopped):
        reader.contents(image)
