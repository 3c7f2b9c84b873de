"""TRL's side of render_speedup, run by an interpreter that has TRL: how long SFTTrainer takes to prepare the rows.

python benchmarks/trl_rows.py FOLDER    # with rows.jsonl and tokenizer/; prints rows, tokens and seconds as JSON
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

seconds = 0.0


class Timed(SFTTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, *arguments: Any, **options: Any) -> Any:
        global seconds
        started = time.process_time()
        prepared = super()._prepare_dataset(*arguments, **options)
        seconds += time.process_time() - started
        return prepared


def main(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                         num_attention_heads=1, num_key_value_heads=1)  # fmt: skip
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        max_length=None,
        completion_only_loss=True,
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    trainer = Timed(
        model=LlamaForCausalLM(config),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    print(json.dumps({"rows": len(trainer.train_dataset), "tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
