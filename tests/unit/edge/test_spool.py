"""The spool: the order of syncs, what is refused, and what may be taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmbnet.edge.folders import Folders
from cmbnet.edge.spool import Identity, Kept, ObjectRefused, Spool, identify
from tests.helpers.edge_peers import study_files
from tests.helpers.edge_processor import uid_of

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "node")
    made.make()
    return made


@pytest.fixture
def spool(folders: Folders) -> Spool:
    return Spool(folders, reserve_bytes=1)


def incoming(folders: Folders, name: str = "a", number: int = 0) -> tuple[Path, Identity]:
    (path,) = study_files(folders.incoming, name, slices=1, first=number)
    return path, Identity(uid_of(name), uid_of(f"{name}/{number}"))


def test_file_then_name_then_folder_are_on_disk_before_it_is_kept(
    folders: Folders, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        calls.append(f"rename {self.name}")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    path, identity = incoming(folders)
    assert spool.keep(path, identity) is Kept.NEW
    study = uid_of("a")
    assert calls == [
        f"sync {path.name}",
        "sync spool",  # the study's folder is new
        f"rename {path.name}",
        f"sync {study}",
    ]


def test_what_is_sent_twice_is_kept_once(folders: Folders, spool: Spool) -> None:
    path, identity = incoming(folders)
    assert spool.keep(path, identity) is Kept.NEW
    before = spool.snapshot(identity.study)
    kept = folders.spool / identity.study / before.names[0]
    content = kept.read_bytes()
    path, identity = incoming(folders)
    assert spool.keep(path, identity) is Kept.DUPLICATE
    assert kept.read_bytes() == content
    assert spool.snapshot(identity.study) == before


def test_what_an_older_node_kept_is_known(folders: Folders, spool: Spool) -> None:
    path, identity = incoming(folders)
    assert spool.keep(path, identity) is Kept.NEW
    (kept,) = (folders.spool / identity.study).iterdir()
    kept.rename(kept.with_name(f"{identity.sop_instance}.dcm"))
    assert spool.keep(*incoming(folders)) is Kept.DUPLICATE
    assert len(spool.snapshot(identity.study).names) == 1


def test_a_kill_while_a_version_was_replaced_leaves_one_in_the_end(
    folders: Folders, spool: Spool
) -> None:
    path, identity = incoming(folders)
    spool.keep(path, identity)
    (first,) = (folders.spool / identity.study).iterdir()
    content = first.read_bytes()
    before = spool.snapshot(identity.study).digest
    path, _ = incoming(folders)
    path.write_bytes(path.read_bytes().replace(b"PHANTOM^EDGE", b"PHANTOM^PAUL"))
    assert spool.keep(path, identity) is Kept.CORRECTED
    assert spool.snapshot(identity.study).digest != before
    (second,) = (folders.spool / identity.study).iterdir()
    first.write_bytes(content)
    os.utime(first, (1, 1))
    path, _ = incoming(folders)
    path.write_bytes(path.read_bytes().replace(b"PHANTOM^EDGE", b"PHANTOM^PAUL"))
    assert spool.keep(path, identity) is Kept.DUPLICATE
    assert list((folders.spool / identity.study).iterdir()) == [second]


def test_the_digest_is_that_of_the_set_of_images(folders: Folders, spool: Spool) -> None:
    for number in (1, 0):
        spool.keep(*incoming(folders, "a", number))
    first = spool.snapshot(uid_of("a")).digest
    other = Spool(folders, 1).snapshot(uid_of("a")).digest
    assert first == other
    spool.keep(*incoming(folders, "a", 2))
    assert spool.snapshot(uid_of("a")).digest != first


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1.2..3", "1.2.", "../../etc", "1.2/3", "1." * 33, "a.b", "1.2\n"]
)
def test_no_uid_leads_out_of_the_spool(folders: Folders, spool: Spool, uid: str) -> None:
    path, _ = incoming(folders)
    for study, sop in ((uid, "1.2"), ("1.2", uid)):
        with pytest.raises(ObjectRefused, match="UID that is none") as refused:
            spool.keep(path, Identity(study, sop))
        assert refused.value.status == 0xA900
    assert not list(folders.spool.iterdir())


def test_a_full_disk_refuses(folders: Folders) -> None:
    spool = Spool(folders, reserve_bytes=1 << 60)
    with pytest.raises(ObjectRefused) as refused:
        spool.keep(*incoming(folders))
    assert refused.value.status == 0xA700
    assert spool.exhausted


def test_a_fault_of_the_disk_refuses(
    folders: Folders, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ObjectRefused, match="No space left") as refused:
        spool.keep(*incoming(folders))
    assert refused.value.status == 0xA700


def test_a_run_sees_exactly_its_snapshot(folders: Folders, spool: Spool) -> None:
    spool.keep(*incoming(folders, "a", 0))
    snapshot = spool.snapshot(uid_of("a"))
    spool.keep(*incoming(folders, "a", 1))
    linked = spool.link(uid_of("a"), snapshot)
    assert [path.name for path in linked.iterdir()] == ["000001.dcm"]


def test_nothing_is_removed_that_came_since(folders: Folders, spool: Spool) -> None:
    spool.keep(*incoming(folders, "a", 0))
    digest = spool.snapshot(uid_of("a")).digest
    spool.keep(*incoming(folders, "a", 1))
    assert spool.remove(uid_of("a"), digest) == 0
    assert len(spool.snapshot(uid_of("a")).names) == 2
    assert spool.remove(uid_of("a"), spool.snapshot(uid_of("a")).digest) > 0
    assert not (folders.spool / uid_of("a")).exists()


def test_a_late_image_brings_a_study_back_from_quarantine(folders: Folders, spool: Spool) -> None:
    spool.keep(*incoming(folders, "a", 0))
    spool.quarantine(uid_of("a"))
    assert list(spool.studies()) == []
    spool.keep(*incoming(folders, "a", 1))
    assert len(spool.snapshot(uid_of("a")).names) == 2


def test_what_was_half_way_is_forgotten_at_the_start(folders: Folders) -> None:
    (folders.incoming / "torso").write_bytes(b"DICM")
    folders.make()
    assert not list(folders.incoming.iterdir())


def test_an_object_must_be_the_announced_one(folders: Folders) -> None:
    path, identity = incoming(folders)
    assert identify(path, MR, identity.sop_instance) == identity
    with pytest.raises(ObjectRefused, match="another") as refused:
        identify(path, MR, "1.2.3")
    assert refused.value.status == 0xA900
    path.write_bytes(b"\0" * 200)
    with pytest.raises(ObjectRefused, match=r"cannot be read|states no study"):
        identify(path, MR, identity.sop_instance)
