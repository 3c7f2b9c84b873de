"""The documents say what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_settings_is_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "make_settings.py"))["render"]()
    assert (DOCS / "settings.md").read_text() == made, "run: python docs/make_settings.py"
