"""The key-value header of a GGUF file: architecture, vocabulary, merges.

The `gguf` package takes seconds over a vocabulary of 49,152 tokens, since it keeps each string as arrays of its own;
only the header is read here, in about 0.1 s. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from tutelage.errors import TutelageError

Value = bool | int | float | str | list["Value"]

STRING, ARRAY = 8, 9
# value type -> struct format, little-endian
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


def read_header(path: Path) -> dict[str, Value]:
    """Every key of the file's header. Raises TutelageError for what is no GGUF file of version 2 or 3."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _scalar(file, 4) not in (2, 3):
                raise TutelageError(f"{path} is no GGUF file of version 2 or 3. Give the GGUF file that is served.")
            _scalar(file, 10)  # number of tensors
            count = int(_scalar(file, 10))
            return {_string(file): _value(file, int(_scalar(file, 4))) for _ in range(count)}
    except (OSError, struct.error, UnicodeDecodeError) as error:
        raise TutelageError(f"{path} could not be read as a GGUF file: {error}.") from None


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _scalar(file, kind)
    item_kind, count = int(_scalar(file, 4)), int(_scalar(file, 10))
    if item_kind in SCALARS:
        item = SCALARS[item_kind][1:]
        return list(struct.unpack(f"<{count}{item}", file.read(count * struct.calcsize("<" + item))))
    return [_value(file, item_kind) for _ in range(count)]


def _scalar(file: BinaryIO, kind: int) -> bool | int | float:
    if kind not in SCALARS:
        raise struct.error(f"unknown value type {kind}")
    form = SCALARS[kind]
    value: bool | int | float = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return value


def _string(file: BinaryIO) -> str:
    return file.read(int(_scalar(file, 10))).decode()
