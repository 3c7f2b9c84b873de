"""The key-value header of a GGUF file: architecture, vocabulary, merges.

The `gguf` package takes seconds over a vocabulary of 49,152 tokens, since it keeps each string as arrays of its own;
only the header is read here, in about 0.1 s. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from pathlib import Path

from tutelage.errors import TutelageError

Value = bool | int | float | str | list["Value"]
Buffer = bytes | memoryview | mmap.mmap

UINT32, STRING, ARRAY, UINT64 = 4, 8, 9, 10
# value type -> struct format, little-endian
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
LENGTH = struct.Struct("<Q")  # of a string, in bytes


def read_header(path: Path) -> dict[str, Value]:
    """Every key of the file's header. Raises TutelageError for what is no GGUF file of version 2 or 3."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            if data[:4] != b"GGUF" or reader.scalar(UINT32) not in (2, 3):
                raise TutelageError(f"{path} is no GGUF file of version 2 or 3. Give the GGUF file that is served.")
            reader.scalar(UINT64)  # number of tensors
            count = int(reader.scalar(UINT64))
            return {reader.string(): reader.value(int(reader.scalar(UINT32))) for _ in range(count)}
    except (OSError, struct.error, ValueError) as error:  # an empty file; a file cut off; text that is none
        raise TutelageError(f"{path} could not be read as a GGUF file: {error}.") from None


def end_of_strings(data: Buffer, at: int, count: int) -> int:
    """Where `count` strings end that begin at byte `at`."""
    for _ in range(count):
        at += LENGTH.size + LENGTH.unpack_from(data, at)[0]
    return at


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 4

    def value(self, kind: int) -> Value:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(kind)
        item_kind, count = int(self.scalar(UINT32)), int(self.scalar(UINT64))
        if item_kind in SCALARS:
            return list(self._unpack(f"<{count}{SCALARS[item_kind][1:]}"))
        return [self.value(item_kind) for _ in range(count)]

    def scalar(self, kind: int) -> bool | int | float:
        if kind not in SCALARS:
            raise struct.error(f"unknown value type {kind}")
        value: bool | int | float = self._unpack(SCALARS[kind])[0]
        return value

    def string(self) -> str:
        start = self.at + LENGTH.size
        self.at = start + LENGTH.unpack_from(self.data, self.at)[0]
        if self.at > len(self.data):
            raise struct.error("it is cut off")
        return self.data[start : self.at].decode()

    def _unpack(self, form: str) -> tuple[bool | int | float, ...]:
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found
