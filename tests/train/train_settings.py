"""A training short enough for tests, shared by processes that must train alike."""

from tutelage.train.config import TrainConfig

CONFIG = TrainConfig(
    epochs=2, rows_per_step=8, tree_tokens=100, lora_rank=4, lora_alpha=8, save_steps=2, eval_steps=3, log_to=()
)
