"""The dataset card: README.md of a build."""

import json

from tutelage.dataset.summary import BuildSummary, reasons


def card(summary: BuildSummary) -> str:
    """Markdown with the YAML header that the Hugging Face Hub reads."""
    kinds = "\n".join(f"| {name} | {kind.traces} | {kind.rows} |" for name, kind in summary.kinds.items())
    tools = ", ".join(f"{name} {count}" for name, count in summary.tools.items()) or "none"
    left_out = reasons(summary.traces_left_out) or "none"
    rows_left_out = reasons(summary.rows_left_out) or "none"
    train, validation = summary.train, summary.validation
    return f"""---
pretty_name: {json.dumps(f"{summary.project}: traces of tool use", ensure_ascii=False)}
task_categories:
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

Made by Tutelage {summary.version} from {summary.traces_kept} of {summary.traces} recorded traces. A row is a
conversation up to and including one assistant message, which alone carries loss.

| split | tasks | traces | rows | tokens | trained tokens |
| --- | --- | --- | --- | --- | --- |
| train | {train.tasks} | {train.traces} | {train.rows} | {train.tokens_unrolled} | {train.tokens_trained} |
| validation | {validation.tasks} | {validation.traces} | {validation.rows} | {validation.tokens_unrolled} | \
{validation.tokens_trained} |

| kind of task, training split | traces | rows |
| --- | --- | --- |
{kinds}

- Calls taught, by tool: {tools}.
- Traces left out: {left_out}. Rows left out: {rows_left_out}.
- The training rows hold {summary.tokens_unrolled} tokens, {summary.tokens_tree} once shared prefixes are counted once.

## Columns

`id`, `timestamp`, `model`, `messages` (OpenAI's chat format with `reasoning_content`), `tools` (JSON text, as are the
arguments of calls), `task_id`, `kind`, `trace_id`, `revision`, `step`, `reward`, `input_ids`, `weights` (the target
weight of each of the `input_ids`; 0 in the prompt).

## What the tokens hang on

| | |
| --- | --- |
| student | {summary.student} |
| chat template | {summary.template} (template.jinja, sha256 {summary.template_sha256}) |
| engine whose rendering is followed | {summary.engine} |
| thinking | {"on" if summary.thinking else "off"} |
| reasoning sent back with the history | {"yes" if summary.send_reasoning else "no"} |
| tool results cut after | {summary.tool_result_characters} characters |
| longest row allowed | {summary.max_length} tokens |
| least reward | {summary.min_reward:g} |
| seed of the split | {summary.seed} |
"""
