"""What the tests in a browser share."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium is installed (Debian: apt-get install chromium)",
)
SCREENSHOTS = Path("artefacts/review")  # of each page, for people to look at


def press(page: Page, *keys: str) -> None:
    """Once the page's script has run."""
    page.wait_for_load_state()
    for key in keys:
        page.keyboard.press(key)
