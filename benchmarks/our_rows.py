"""Our side of render_speedup: how long it takes to render, tokenise and write the rows of traces.

python benchmarks/our_rows.py FOLDER    # with tutelage.toml and traces.jsonl; prints rows, tokens and seconds as JSON
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa

from tutelage.dataset.rows import RowMaker
from tutelage.dataset.write import RowWriter
from tutelage.project import Project
from tutelage.render.serving import planned_serving
from tutelage.trace import Trace


def main(folder: Path) -> None:
    project = Project.open(folder)
    traces = [Trace.model_validate_json(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    maker = RowMaker.of(project, planned_serving(project.settings), "keep")
    pa.array([0])  # imports pandas where it is there, as TRL's imports did
    rows = tokens = 0
    started = time.process_time()
    with RowWriter(folder / "ours.parquet") as writer:
        for trace in traces:
            for row in maker.rows(trace):
                writer.add(trace, row.unrolled, row.tokens, set())
                rows += 1
                tokens += len(row.tokens.input_ids)
    print(json.dumps({"rows": rows, "tokens": tokens, "seconds": time.process_time() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
