"""The tensors of a GGUF file, by the `gguf` package."""

import gguf
import numpy as np
from numpy.typing import NDArray


class GgufTensors(gguf.GGUFReader):  # type: ignore[misc]  # ships no types
    """The package's reader over a plain array: over a memmap object, as it opens it, a vocabulary takes six seconds."""

    @property
    def data(self) -> NDArray[np.uint8]:
        return self._data

    @data.setter
    def data(self, value: NDArray[np.uint8]) -> None:
        self._data = np.asarray(value).view(np.ndarray)
