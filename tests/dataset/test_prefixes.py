"""Counting the nodes of a prefix tree in bounded memory."""

import random
from pathlib import Path

from tutelage.dataset.prefixes import PrefixCounter


def test_the_count_is_exact_whatever_lies_in_files(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [[1, 2, 3] * draw.randrange(4) + draw.choices(range(5), k=draw.randrange(40)) for _ in range(300)]
    wanted = {tuple(row[: end + 1]) for row in rows for end in range(len(row))}
    for spill_at in (1 << 20, 500, 20):
        with PrefixCounter(tmp_path, spill_at, merge_at=100) as counter:
            for row in rows:
                counter.add(row)
            assert counter.count == len(wanted)
            assert (len(list(tmp_path.iterdir())) > 2) == (spill_at < 1 << 20)
        assert not list(tmp_path.iterdir())
