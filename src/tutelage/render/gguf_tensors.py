"""The tensors of a GGUF file, by the `gguf` package."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tutelage.render.gguf_header import end_of_strings, read_header

Parts = tuple[int, list[NDArray[Any]], list[int], list[gguf.GGUFValueType]]


class GgufTensors(gguf.GGUFReader):  # type: ignore[misc]  # ships no types
    """The package's reader, made fast: it knows the types of all keys, but not what stands in arrays.

    The package opens a memmap object and keeps arrays of its own for each item: nine seconds over 49,152 tokens.
    What a key holds, `gguf_header.read_header` says.
    """

    @property
    def data(self) -> NDArray[np.uint8]:
        return self._data

    @data.setter
    def data(self, value: NDArray[np.uint8]) -> None:
        self._data = np.asarray(value).view(np.ndarray)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Parts:
        if raw_type == gguf.GGUFValueType.ARRAY and self.byte_order == "I":
            kind = gguf.GGUFValueType(self._get(orig_offs, np.uint32)[0])
            count, first = int(self._get(orig_offs + 4, np.uint64)[0]), orig_offs + 12
            end = None
            if kind == gguf.GGUFValueType.STRING:
                end = end_of_strings(self.data.data, first, count)
            elif kind in self.gguf_scalar_to_np:
                end = first + count * np.dtype(self.gguf_scalar_to_np[kind]).itemsize
            if end is not None:
                return end - orig_offs, [], [], [gguf.GGUFValueType.ARRAY, kind]
        parts: Parts = super()._get_field_parts(orig_offs, raw_type)
        return parts


def copy_keys(origin: Path, tensors: GgufTensors, writer: gguf.GGUFWriter, kind: gguf.LlamaFileType) -> None:
    """Give `writer` every key of the file `origin`, all but the type of its numbers, which are now of `kind`."""
    header = read_header(origin)
    for field in tensors.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue  # the writer's own
        if field.name == gguf.Keys.General.FILE_TYPE:
            writer.add_file_type(kind)
        else:
            writer.add_key_value(field.name, header[field.name], field.types[0], *field.types[1:2])
