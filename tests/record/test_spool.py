import pytest

from tutelage.record.spool import keys_of


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
