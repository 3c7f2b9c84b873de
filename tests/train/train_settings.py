"""A training short enough for tests, shared by processes that must train alike."""

from tutelage.train.config import TrainConfig

CONFIG = TrainConfig(
    epochs=2, rows_per_step=8, tree_tokens=100, lora_rank=4, lora_alpha=8, save_steps=2, eval_steps=3, log_to=()
)

# Trainings that are divided over processes, by what each changes.
DIVIDED: dict[str, dict[str, object]] = {
    "lora": {},
    "full": {"method": "full"},
    "upper": {"lora_first_layer": 1, "checkpointing": "layers"},  # frozen layers; layers computed twice
}
