"""A rollout's world, the browser that looks into it, and whether the task was done."""

import json
import os
import shutil

from tutelage import Reward, Task, Trace, World


def prepare(task: Task, world: World) -> None:
    """The rooms to be booked, and a browser that sends the world's id with each request."""
    (world.folder / "rooms.json").write_text(json.dumps(task.setup["rooms"]))
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    browser = {
        "browserName": "chromium",
        "isolated": True,
        "launchOptions": {
            "headless": True,
            "executablePath": chromium,
            "chromiumSandbox": os.getuid() != 0,  # Chromium has none for root
            "args": ["--disable-background-networking", "--disable-component-update", "--disable-sync"],
        },
        "contextOptions": {"extraHTTPHeaders": world.headers},
    }
    (world.folder / "browser.json").write_text(json.dumps({"browser": browser, "outputDir": "output"}))


def verify(trace: Trace, world: World) -> Reward:
    wanted, file = trace.task.setup["wanted"], world.folder / "bookings.json"
    assert isinstance(wanted, dict)
    bookings = json.loads(file.read_text()) if file.exists() else []
    words = trace.answer().replace(".", " ").replace(",", " ").split()
    if "seats" in wanted:
        if bookings:
            return Reward(0, "it booked, and was only asked", "wrong tool")
        told = str(wanted["seats"]) in words
        return Reward(1, "the right number") if told else Reward(0, "not the right number", "wrong answer")
    if [{key: booking[key] for key in wanted} for booking in bookings] != [wanted]:
        return Reward(0, f"the bookings are {bookings}", "wrong argument" if bookings else "gave up")
    if bookings[0]["number"] not in words:
        return Reward(0.5, "booked, but its number is not told", "wrong answer")
    return Reward(1, "booked")
