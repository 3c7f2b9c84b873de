"""The card (README.md) of a pushed model: YAML for the Hub, the rest for people."""

import json
from collections.abc import Mapping
from typing import Any

from tutelage import __version__
from tutelage.endpoint.vllm import student_command
from tutelage.render.serving import Serving
from tutelage.settings import Settings

EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDED_LICENCE = "apache-2.0"
# Of a merged model the repository itself holds the template, and there is no adapter.
MERGED_FLAGS = (
    *("--port", "--max-model-len", "--default-chat-template-kwargs"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "--reasoning-parser"),
)


def model_card(
    *,
    repo_id: str,
    base: str,
    rank: int | None,  # None: every weight was trained
    merged: bool,
    project: Settings,
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    serving: Serving,
) -> str:
    """What it is, what it was trained on, how well it did: from train.json (`training`) and evaluation.json."""
    name = repo_id.rpartition("/")[2]
    header: dict[str, Any] = {
        "base_model": base,
        "base_model_relation": "finetune" if merged else "adapter",
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["tutelage", "tool-use"] + ([] if merged else ["lora"]),
    }
    if base == EMBEDDED_HUB_ID:
        header["license"] = EMBEDDED_LICENCE
    what = "fine-tuned model" if rank is None else "merged model" if merged else "LoRA adapter (PEFT)"
    parts = [
        f"# {name}",
        f"A {what} for `{base}`, trained by Tutelage {__version__} on traces of the project “{project.name}” to use "
        f"its tools. The chat template is the one it was trained with: use it as it stands.",
        _figures(evaluation),
        "## Training\n\n" + _table(training),
        "## Use\n\n" + _use(base, repo_id, rank or 0, merged, project, serving),
    ]
    return _header(header) + "\n\n".join(parts) + "\n"


def _figures(evaluation: Mapping[str, Any]) -> str:
    if not evaluation:
        return "## Success\n\nThis model has not been evaluated."
    lines = ["| | solved | success | 95 % interval |", "| --- | --- | --- | --- |"]
    for variant in evaluation["variants"].values():
        low, high = variant["interval"]
        label = variant["name"] + (" (scripted)" if variant["scripted"] else "")
        solved = f"{variant['solved']} of {variant['tasks']}"
        lines.append(f"| {label} | {solved} | {variant['success']:.0%} | {low:.0%} to {high:.0%} |")
    origin = evaluation["provenance"]
    commit = f", commit {origin['commit']}" if origin["commit"] else ""
    notes = [
        f"Held-out tasks, sha256 {origin['tasks_sha256']}; seed {origin['seed']}; Tutelage {origin['version']}{commit}."
    ]
    for found in evaluation["comparisons"]:
        if (found["before"], found["after"]) == ("before", "after"):
            low, high = found["interval"]
            notes.append(
                f"After minus before: {100 * found['difference']:+.0f} points (95 % interval {100 * low:+.0f} to "
                f"{100 * high:+.0f}), McNemar's exact test p = {found['p']:.2g}."
            )
    return "## Success on held-out tasks\n\n" + "\n".join(lines) + "\n\n" + " ".join(notes)


def _use(base: str, repo_id: str, rank: int, merged: bool, project: Settings, serving: Serving) -> str:
    """The commands that serve it, the same as `tutelage serve --engine vllm --print` shows."""
    student = project.student
    own_template = base == EMBEDDED_HUB_ID or student.model.endswith(".gguf")
    command = student_command(
        base,
        repo_id,
        chat_format=student.template if own_template else base,
        chat_template="chat_template.jinja",
        template_fields=serving.template_fields,
        name=repo_id.rpartition("/")[2],
        rank=rank,
        context=student.context,
    )
    if merged:
        kept = [flag.text for flag in command.flags if flag.text.startswith(MERGED_FLAGS)]
        lines = " \\\n  ".join([f"vllm serve {repo_id}", *kept])
    else:
        lines = f"hf download {repo_id} chat_template.jinja --local-dir .\n" + command.line()
    return f"```\n{lines}\n```"


def _table(record: Mapping[str, Any]) -> str:
    """The plain values of a stage's record; lists and tables stay in the file."""
    rows = [
        (key, value) for key, value in record.items() if isinstance(value, (str, int, float)) and not _is_path(value)
    ]
    cells = [(key, str(value).replace("|", "\\|")) for key, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in cells)])


def _is_path(value: object) -> bool:
    """Folders of the machine that made it tell others nothing."""
    return isinstance(value, str) and value.startswith(("/", "~"))


def _header(values: Mapping[str, Any]) -> str:
    """YAML front matter; JSON's values are YAML's too."""
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + "---\n\n"
