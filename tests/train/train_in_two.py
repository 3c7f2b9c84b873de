"""One of several processes that train together; test_training_run.py starts them by torchrun."""

import json
import sys
from pathlib import Path

import torch
from train_settings import CONFIG

from tutelage.train.run import train

torch.set_num_threads(1)
folder = Path(sys.argv[1])
result = train(folder / "build", folder / "weights", folder / "together", CONFIG)
print(json.dumps(result.losses))
