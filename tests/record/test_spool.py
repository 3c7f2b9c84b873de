import shutil
from pathlib import Path

import pytest

from tutelage.record import spool as spooling
from tutelage.record.spool import Spool
from tutelage.trace import now


def test_a_recorder_keeps_its_name_and_a_copy_of_its_folder_gets_another(spool: Spool, tmp_path: Path) -> None:
    assert spool.owner() == Spool(spool.folder).owner()
    shutil.copytree(spool.folder, tmp_path / "copy")
    assert Spool(tmp_path / "copy").owner() != spool.owner()


def test_of_what_cannot_be_read_the_newest_is_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "UNREADABLE_MOST", 2)
    for number in range(4):
        spool.write("chat", now(), 0.1, b'{"n": %d}' % number, {}, [])
    kept = [spool.set_aside(waiting) for waiting in spool.waiting()]
    assert spool.waiting() == []
    assert sorted((spool.folder / "unreadable").iterdir()) == kept[2:]
