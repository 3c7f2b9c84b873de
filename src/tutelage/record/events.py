"""Server-sent events, from bytes cut anywhere."""

MARK = b"\xef\xbb\xbf"  # may stand before the first event


class EventReader:
    """The data of each event, as its bytes arrive (WHATWG HTML, "Server-sent events": lines end in LF, CR or both)."""

    def __init__(self) -> None:
        self._rest = b""  # of a line whose end has not come
        self._data: list[bytes] = []
        self._after_cr = False  # an LF that comes first belongs to the line that ended
        self._first = True

    def feed(self, part: bytes) -> list[str]:
        """The events that end in `part`."""
        if self._after_cr and part:
            part = part.removeprefix(b"\n")
            self._after_cr = False
        lines = (self._rest + part).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        if lines and not self._rest:
            self._after_cr = lines[-1].endswith(b"\r")
        found = []
        for line in lines:
            if self._first:
                line, self._first = line.removeprefix(MARK), False
            event = self._line(line.rstrip(b"\r\n"))
            if event is not None:
                found.append(event)
        return found

    def end(self) -> list[str]:
        """The event that the end of the stream ends, where a server left the last blank line out."""
        return [event for event in self.feed(b"\n\n") if event] if self._rest or self._data else []

    def _line(self, line: bytes) -> str | None:
        if not line:
            event = b"\n".join(self._data).decode(errors="replace") if self._data else None
            self._data = []
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None
