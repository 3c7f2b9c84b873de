"""What the settings want learnt."""

from tutelage.train.config import TrainConfig
from tutelage.train.dpo import Dpo
from tutelage.train.sft import Sft


def objective_of(config: TrainConfig, share: bool) -> Sft | Dpo:
    if config.objective == "dpo":
        return Dpo(config.tree_tokens, share, config.dpo_beta)
    return Sft(config.tree_tokens, share)
