"""Half characters: JSON may escape one half of a surrogate pair, which is no text and which no store takes."""

import json
from typing import TypeVar

Data = TypeVar("Data")


def without_half_characters(data: Data) -> Data:
    """`data`, of what JSON holds, with each half of a character replaced by "?"."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        whole: Data = json.loads(text.encode(errors="replace"))
        return whole
    return data
