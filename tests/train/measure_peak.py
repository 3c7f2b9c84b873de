"""Plans a training, runs it, and prints both peaks; a process of its own, as test_planner.py wants its memory alone."""

import json
import os
import sys
from pathlib import Path

from transformers import AutoConfig

from tutelage.train.compute import measure
from tutelage.train.config import TrainConfig
from tutelage.train.planner import plan_needs
from tutelage.train.rows import load_rows
from tutelage.train.run import train
from tutelage.train.steps import plan_steps

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
folder = Path(sys.argv[1])
config = TrainConfig(
    dtype="fp32", lora_rank=8, lora_alpha=16, rows_per_step=4, tree_tokens=4_000, eval_rows=0, log_to=()
)  # on a busy machine two measurements may choose two types
compute = measure(dtype="fp32")
steps = plan_steps(load_rows(folder / "build" / "train.parquet"), config.rows_per_step, 1, 0)
needs = plan_needs(AutoConfig.from_pretrained(folder / "weights"), config, compute, steps)
result = train(folder / "build", folder / "weights", folder / "out", config)
print(json.dumps({"planned": needs.peak_bytes / 2**20, "measured": result.peak_rss_mb, "trained": needs.trained}))
