"""A small website where rooms are booked: `python website.py PORT`, on this machine only.

It is a web proxy for http://rooms.test as well, so that a browser that knows no other proxy reaches nothing else.
A world's browser sends the world's id: rooms.json there is what can be booked, bookings.json what was.
"""

import html
import json
import os
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

WORLDS = Path(os.environ["TUTELAGE_WORLDS"])
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<style>body {{ font-family: system-ui; margin: 3rem }} td, th {{ padding-right: 1rem; text-align: left }}</style>
<h1>{title}</h1>{body}"""


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/health":
            self._page("ok", "")
        elif (world := self._world()) is None:
            self._page("Not found", "No world.", HTTPStatus.NOT_FOUND)
        elif path == "/":
            self._page("Rooms", rooms_table(read(world / "rooms.json")))
        elif room := next((room for room in read(world / "rooms.json") if path == f"/rooms/{room['name']}"), None):
            self._page(f"{room['name']} room", f"<p>{room['seats']} seats, {room['price']} EUR a day.</p>{FORM}")
        else:
            self._page("Not found", "There is no such page.", HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        world = self._world()
        room = unquote(urlsplit(self.path).path).removeprefix("/rooms/")
        length = int(self.headers.get("Content-Length", 0))
        form = {key: values[0].strip() for key, values in parse_qs(self.rfile.read(length).decode()).items()}
        if world is None or room not in [one["name"] for one in read(world / "rooms.json")]:
            self._page("Not found", "There is no such room.", HTTPStatus.NOT_FOUND)
        elif not form.get("name") or not re.fullmatch(r"\d{4}-\d\d-\d\d", form.get("day", "")):
            self._page("Not booked", "A booking needs a name, and a day as in 2026-05-04.", HTTPStatus.BAD_REQUEST)
        else:
            bookings = read(world / "bookings.json")
            booking = {"number": f"B-{101 + len(bookings)}", "room": room, "name": form["name"], "day": form["day"]}
            (world / "bookings.json").write_text(json.dumps([*bookings, booking]))
            said = f"{booking['name']} has the {room} room on {booking['day']}. Booking number: {booking['number']}"
            self._page("Booked", f"<p>{html.escape(said)}</p>")

    def _world(self) -> Path | None:
        id = self.headers.get("X-Tutelage-World", "")
        return WORLDS / id if re.fullmatch(r"\w+", id) and (WORLDS / id).is_dir() else None

    def _page(self, title: str, body: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = PAGE.format(title=html.escape(title), body=body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


FORM = """<form method="post"><p><label>Name <input name="name"></label></p>
<p><label>Day <input name="day" placeholder="2026-05-04"></label></p><button>Book</button></form>"""


def rooms_table(rooms: list[dict[str, object]]) -> str:
    head = "<tr><th>Room</th><th>Seats</th><th>EUR a day</th></tr>"
    rows = "".join(
        f'<tr><td><a href="/rooms/{quote(str(room["name"]))}">{html.escape(str(room["name"]))}</a></td>'
        f"<td>{room['seats']}</td><td>{room['price']}</td></tr>"
        for room in rooms
    )
    return f"<table>{head}{rows}</table>"


def read(file: Path) -> list[dict[str, object]]:
    return list(json.loads(file.read_text())) if file.exists() else []


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Site).serve_forever()
