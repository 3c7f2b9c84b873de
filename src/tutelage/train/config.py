"""How the student is trained."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

FULL_RATE, DPO_RATE = 1 / 10, 1 / 30  # of the default rate


class MixedDataset(BaseModel):
    """A further dataset, mixed into the project's own; as many of these tables as you like.

    Rows that were rendered for another student are rendered anew, and evaluation tasks are refused. The evaluation loss
    stays that of the project's own validation rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="a folder that holds a build, or a published dataset: owner/name on the Hub")
    weight: float = Field(
        1.0,
        gt=0,
        description="passes over it in an epoch: with 0.5 the first takes one half, the second the other",
    )
    max_rows: int | None = Field(None, ge=1, description="use at most so many of its rows, in whole traces")


class TrainConfig(BaseModel):
    """The table [train] of tutelage.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(1, ge=1, description="Passes over the rows. Raise it where traces are few (under a hundred).")
    rows_per_step: int = Field(
        32, ge=1, description="Rows an optimizer step, in whole traces. Raise it where the loss jumps about."
    )
    learning_rate: float = Field(
        1.5e-3,
        gt=0,
        description="Peak of the schedule. Divide by 5 to 10 for students of a billion parameters up. Unless you name "
        "one, full fine-tuning takes a tenth of it and dpo a thirtieth; of one that you name, so do --method and "
        "--objective where the project says another.",
    )
    adam_beta2: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Memory of AdamW's second moment: 0.95 forgets the large gradients of the first steps in time. "
        "Raise it to 0.999 for runs of thousands of steps.",
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Share of the steps in which the rate rises. Raise it if the loss leaps early."
    )
    dtype: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="What products are computed in. auto measures which this machine multiplies faster; name one to "
        "compare machines, or fp32 where bf16's rounding shows in the loss.",
    )
    method: Literal["lora", "qlora", "full"] = Field(
        "lora",
        description="lora trains adapters; qlora trains them on weights held in 4 bits, where memory is short "
        "(bitsandbytes); full trains every weight and leaves a whole model: 16 bytes a parameter, and a rate ten times "
        "lower.",
    )
    objective: Literal["sft", "dpo"] = Field(
        "sft",
        description="sft imitates the rows; dpo learns from the build's pairs what was better and what was worse, "
        "usually from the adapter of an sft training on, at a thirtieth of its rate.",
    )
    dpo_beta: float = Field(
        0.1, gt=0, description="How strongly dpo holds on to where it started. Lower it to let it move further."
    )
    backend: Literal["transformers", "unsloth"] = Field(
        "transformers", description="Who computes the student's layers. unsloth needs a GPU and computes row by row."
    )
    shard: bool = Field(
        False,
        description="Divide the student's layers over the processes that torchrun has started, with gradients and "
        "optimizer state. Set it where one process cannot hold them.",
    )
    checkpointing: Literal["auto", "none", "layers", "offload"] = Field(
        "auto",
        description="auto is layers where the training would not fit otherwise, else none. layers keeps only what goes "
        "in between layers for the backward pass and computes the rest again: up to half as much time again, for much "
        "less memory; offload keeps that in main memory, on a GPU.",
    )
    adapter: str | None = Field(
        None,
        description="The folder of an adapter to go on from, as another training left it; rank, alpha and modules have "
        "to be its own. None starts anew.",
    )
    lora_rank: int = Field(16, ge=1, description="Rank of the adapters. Raise it where much is to be learnt.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the adapters: alpha / rank. Keep it at twice the rank.")
    lora_first_layer: int = Field(
        0,
        ge=0,
        description="The lowest layer that gets adapters. Below it nothing is learnt and no gradient computed: a third "
        "of the layers left out saves a fifth of a step. Raise it where time is short.",
    )
    lora_options: dict[str, JsonValue] = Field(
        {},
        description="More of PEFT's LoraConfig: target_modules, use_rslora, use_dora, … What llama.cpp or vLLM cannot "
        "switch on and off is served merged into the student's weights.",
    )
    tree_tokens: int | None = Field(
        None,
        ge=64,
        description="Tokens of a microbatch. None: 4000, or as many as the step's largest trace needs. Set it where "
        "memory is short; a trace whose tree is larger is cut apart where that computes least twice.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are cut to this norm. Lower it if the loss leaps.")
    save_steps: int = Field(10, ge=1, description="Steps between checkpoints. Raise it where steps are fast.")
    eval_steps: int = Field(20, ge=1, description="Steps between evaluation losses. Raise it where they cost much.")
    eval_rows: int = Field(
        48, ge=0, description="At most so many validation rows, in whole traces. 0 trains without evaluation loss."
    )
    patience: int = Field(
        0,
        ge=0,
        description="Stop after so many evaluations without a lower loss, and keep the weights of the lowest: then "
        "there is a checkpoint for each evaluation. 0 never stops early.",
    )
    seed: int = Field(0, ge=0, description="Fixes the order of traces and the adapters' start. Vary it to see noise.")
    log_to: tuple[str, ...] = Field(
        ("tensorboard",), description='Where losses are logged: "tensorboard", "wandb", … Empty logs to no tracker.'
    )
    datasets: tuple[MixedDataset, ...] = ()

    @property
    def computes_again(self) -> bool:
        """Whether layers are checkpointed; undecided, they are not."""
        return self.checkpointing in ("layers", "offload")

    @model_validator(mode="before")
    @classmethod
    def _usual_rate(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "learning_rate" in values:
            return values
        return {**values, "learning_rate": 1.5e-3 * share_of_rate(values)}


def share_of_rate(values: Mapping[str, Any]) -> float:
    """Of the rate at which adapters imitate rows: what these values' method and objective take of it."""
    full = FULL_RATE if values.get("method") == "full" else 1
    return full * (DPO_RATE if values.get("objective") == "dpo" else 1)
