"""One of several processes that train divided students; test_shards.py starts them by torchrun.

With "stop" every training stops after its third step; with "go on" it is resumed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from train_settings import CONFIG, DIVIDED

from tutelage.train import processes
from tutelage.train.compute import Compute
from tutelage.train.progress import Progress
from tutelage.train.run import train
from tutelage.train.student import prepare


def share_held(folder: Path) -> float:
    """Of the layers' parameters, the part that this process holds."""
    processes.join()
    compute = Compute(torch.device("cpu"), torch.float32, 1.0, 1)
    student, _ = prepare(folder / "weights", CONFIG.model_copy(update={"shard": True}), compute)
    of_layers = [p for name, p in student.named_parameters() if ".layers." in name]
    here = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in of_layers)
    return here / sum(p.numel() for p in of_layers)


def interrupt(progress: Progress) -> None:
    if progress.step == 3:  # the leading process alone: the others have to learn of it
        os.kill(os.getpid(), signal.SIGINT)


torch.set_num_threads(1)
folder, what = Path(sys.argv[1]), sys.argv[2]
print(f"held {share_held(folder):.3f}", flush=True)
for name, change in DIVIDED.items():
    config = CONFIG.model_copy(update={**change, "shard": True, "eval_steps": 4})
    try:
        train(folder / "build", folder / "weights", folder / name, config, interrupt if what == "stop" else None)
    except KeyboardInterrupt:
        print(f"{name} stopped", flush=True)
