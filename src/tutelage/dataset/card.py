"""The dataset card: README.md of a build, and of a dataset that is published."""

import json

from tutelage.dataset.summary import REASONING_KINDS, BuildSummary, reasons

LOSS = {
    "steps": "A row is a conversation up to and including one assistant message, which alone carries loss.",
    "turns": "A row is a conversation up to the end of one user turn; the assistant's messages after its last user "
    "message carry loss.",
    "none": "A row is a whole conversation; every assistant message that is to be learnt carries loss.",
}
TOKENS = ", `input_ids`, `weights` (the target weight of each of the `input_ids`; 0 in the prompt)"


def card(summary: BuildSummary, rows: dict[str, int] | None = None) -> str:
    """Markdown with the YAML header that the Hugging Face Hub reads. `rows`, by split, where they are not the build's.

    Tokens are counted in a row a step, however the rows are published.
    """
    kinds = "\n".join(f"| {name} | {kind.traces} | {kind.rows} |" for name, kind in summary.kinds.items())
    tools = ", ".join(f"{name} {count}" for name, count in summary.tools.items()) or "none"
    left_out = reasons(summary.traces_left_out) or "none"
    rows_left_out = reasons(summary.rows_left_out) or "none"
    train, validation = summary.train, summary.validation
    counts = rows or {"train": train.rows, "validation": validation.rows}
    serving = summary.serving
    reasoning = ", ".join(f"{summary.reasoning_rows.get(kind, 0)} {text}" for kind, text in REASONING_KINDS.items())
    reasoning += "" if serving.thinking else "; left out, thinking is off"
    cut = f" to prompts of {serving.over_length.prompt_tokens} tokens" if serving.over_length else ""
    licence = f"license: {json.dumps(summary.licence)}\n" if summary.licence else ""
    return f"""---
pretty_name: {json.dumps(f"{summary.project}: traces of tool use", ensure_ascii=False)}
{licence}task_categories:
- text-generation
tags:
- tutelage
- tool-use
- agent-traces
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
  - split: validation
    path: validation.parquet
---

# {summary.project}: traces of tool use

Made by Tutelage {summary.version} from {summary.traces_kept} of {summary.traces} recorded traces.
{LOSS[summary.unroll]}
Licence: {summary.licence or "none is stated; ask the owner before you use it"}.

| split | tasks | traces | rows | tokens | trained tokens |
| --- | --- | --- | --- | --- | --- |
| train | {train.tasks} | {train.traces} | {counts["train"]} | {train.tokens_unrolled} | {train.tokens_trained} |
| validation | {validation.tasks} | {validation.traces} | {counts["validation"]} | {validation.tokens_unrolled} | \
{validation.tokens_trained} |

| kind of task, training split | traces | rows, one a step |
| --- | --- | --- |
{kinds}

- Calls taught, by tool: {tools}.
- Traces left out: {left_out}. Rows left out: {rows_left_out}.
- {summary.about_evaluation()}
- The training rows, one a step, hold {summary.tokens_unrolled} tokens, {summary.tokens_tree} once shared prefixes are
  counted once.

## Columns

`id`, `timestamp`, `model`, `messages` (OpenAI's chat format with `reasoning_content`; `weight` 0 marks an assistant
message as context only), `tools` (JSON text, as are the arguments of calls), `task_id`, `kind`, `trace_id`,
`revision`, `step` (the trace's assistant message that ends the row, from 0), `reward`, `reasoning_written` (places in
`messages` of reasoning that was not recorded but written afterwards)\
{TOKENS if summary.unroll == "steps" else ""}.

## What the tokens hang on

| | |
| --- | --- |
| student | {summary.student} |
| chat template | {summary.template} (template.jinja, sha256 {summary.template_sha256}) |
| tokenizer | sha256 {summary.tokenizer_sha256} |
| engine whose rendering is followed | {summary.engine} |
| thinking | {"on" if serving.thinking else "off"} |
| reasoning of the rows | {summary.reasoning}: {reasoning} |
| reasoning sent back with the history | {"yes" if serving.send_reasoning else "no"} |
| tool results cut after | {serving.tool_results.limit} {serving.tool_results.unit} ({serving.tool_results.cut}) |
| longest row allowed | {summary.max_length} tokens |
| longer rows | {summary.over_length}{cut} |
| least reward | {summary.min_reward:g} |
| seed of the split | {summary.seed} |
"""
