"""The student as it is trained: loaded, with what learns on it, and made fast."""

import logging
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed

from tutelage.errors import TutelageError
from tutelage.train import attention
from tutelage.train.compute import Compute
from tutelage.train.config import TrainConfig
from tutelage.train.fast import speed_up
from tutelage.train.hybrid import follow_branches
from tutelage.train.lora import add_lora, go_on_from
from tutelage.train.sharing import why_not_shared
from tutelage.train.trunk import keep_trunks
from tutelage.train.weights import folder_config

logger = logging.getLogger(__name__)


def prepare(weights: Path, config: TrainConfig, compute: Compute) -> tuple[PeftModel, bool]:
    """The student with fresh adapters, made fast, and whether it runs over trees."""
    set_seed(config.seed)
    model = add_lora(load_student(weights, compute), config)
    if config.adapter:
        go_on_from(model, Path(config.adapter))
    separate = why_not_shared(model.get_base_model())
    if separate:
        logger.warning("This student cannot share what rows have in common (%s): each is computed alone.", separate)
    else:
        keep_trunks(model.get_base_model())
    speed_up(model)
    return model, separate is None


def load_student(weights: Path, compute: Compute) -> PreTrainedModel:
    """The model in the folder, frozen weights in the compute type, attending over trees."""
    config = folder_config(weights)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights, config=config, dtype=compute.dtype, attn_implementation=attention.NAME
        )
    except (OSError, ValueError) as error:  # of missing weights, and of what is no language model
        raise TutelageError(f"{weights}: the model cannot be loaded: {str(error).splitlines()[0]}") from error
    model.config.use_cache = False
    follow_branches(model)
    return model.to(compute.device)
