import shutil
from pathlib import Path

import pytest

from tutelage.record.spool import Spool, keys_of


def test_a_recorder_keeps_its_name_and_a_copy_of_its_folder_gets_another(spool: Spool, tmp_path: Path) -> None:
    assert spool.owner() == Spool(spool.folder).owner()
    shutil.copytree(spool.folder, tmp_path / "copy")
    assert Spool(tmp_path / "copy").owner() != spool.owner()


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ("Bearer sk-Zq3vKey-0123456789", [b"Bearer sk-Zq3vKey-0123456789", b"sk-Zq3vKey-0123456789"]),
        ("Bearer anything", []),
        ("Bearer not-needed", []),
        ("Bearer none", []),
        ("correct-horse-battery-staple", [b"correct-horse-battery-staple"]),
    ],
)
def test_words_that_stand_for_a_key_are_taken_out_of_no_text(header: str, keys: list[bytes]) -> None:
    assert keys_of({"authorization": header}) == keys
