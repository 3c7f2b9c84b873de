"""measure_peak.py PROJECT METHOD: plans a training, runs it, and prints what both took beyond Python itself, in MB.

A process of its own, as test_planner.py wants its memory alone.
"""

import json
import os
import sys
from pathlib import Path

from transformers import AutoConfig

from tutelage.train.compute import measure, peak_rss
from tutelage.train.config import TrainConfig
from tutelage.train.planner import plan_needs
from tutelage.train.rows import load_rows
from tutelage.train.run import train
from tutelage.train.steps import plan_steps

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
folder = Path(sys.argv[1])
config = TrainConfig.model_validate(
    {
        "dtype": "fp32",  # on a busy machine two measurements may choose two types
        "method": sys.argv[2],
        "lora_rank": 8,
        "lora_alpha": 16,
        "epochs": 2,  # one step each: the optimizer's state is there from the second on
        "rows_per_step": 4,
        "tree_tokens": 4_000,
        "eval_rows": 0,
        "log_to": (),
    }
)
compute = measure(dtype="fp32")
held = peak_rss()
steps = plan_steps(load_rows(folder / "build" / "train.parquet"), config.rows_per_step, config.epochs, 0)
needs = plan_needs(AutoConfig.from_pretrained(folder / "weights"), config, compute, steps)
result = train(folder / "build", folder / "weights", folder / "out", config)
planned, measured = needs.peak_bytes - held, result.peak_rss_mb * 2**20 - held
print(json.dumps({"planned": planned / 2**20, "measured": measured / 2**20}))
