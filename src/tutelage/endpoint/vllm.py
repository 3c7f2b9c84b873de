"""The vLLM commands for a teacher and for a trained student, each flag with its reason.

Parser names are those of vLLM's pages "Tool Calling" and "Reasoning Outputs" (read in 2026, version 0.26 and later).
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

IMAGE = "vllm/vllm-openai:latest"
TEACHER_CONTEXT = 32_000
PORT = 8000


class Flag(NamedTuple):
    text: str  # as it stands on the command line; several words where the flag has a value
    why: str


class Command(NamedTuple):
    title: str
    flags: tuple[Flag, ...]  # the program itself is the first

    def line(self) -> str:
        """The command, a flag a line, to be pasted into a shell."""
        return " \\\n  ".join(flag.text for flag in self.flags)


class Family(NamedTuple):
    """How vLLM reads what a family of models writes."""

    name: str  # found in the model's name, lower case
    tool_parser: str
    reasoning_parser: str | None


# The first whose name occurs in the model's name is used, so the special cases stand first.
FAMILIES = (
    Family("qwen3-coder", "qwen3_xml", None),
    Family("qwen3.5", "qwen3_xml", "qwen3"),
    Family("qwq", "hermes", "deepseek_r1"),
    Family("qwen3", "hermes", "qwen3"),
    Family("qwen2.5", "hermes", None),
    Family("hermes", "hermes", None),
    Family("gpt-oss", "openai", "openai_gptoss"),
    Family("llama-4", "llama4_pythonic", None),
    Family("llama-3", "llama3_json", None),
    Family("deepseek-v3.1", "deepseek_v31", "deepseek_v3"),
    Family("deepseek-r1", "deepseek_v3", "deepseek_r1"),
    Family("deepseek-v3", "deepseek_v3", None),
    Family("glm-4.7", "glm47", "glm45"),
    Family("glm-4", "glm45", "glm45"),
    Family("kimi-k2", "kimi_k2", None),
    Family("granite-4", "granite4", None),
    Family("granite", "granite", "granite"),
    Family("mistral", "mistral", None),
)


def teacher_commands(model: str, *, context: int = TEACHER_CONTEXT, port: int = PORT) -> list[Command]:
    """The Docker command and the plain one that serve `model` as a teacher."""
    shared = (Flag(f"--max-model-len {context}", CONTEXT_WHY), *_parser_flags(model))
    docker = (
        Flag("docker run --rm --gpus all", "run in a container that sees every GPU and is removed when it ends"),
        Flag("--ipc=host", "share the host's memory between vLLM's processes; the container's 64 MB are too few"),
        Flag(f"-p {port}:8000", "the port at which this machine answers, left, and vLLM's in the container"),
        Flag("-v ~/.cache/huggingface:/root/.cache/huggingface", "keep the downloaded weights outside the container"),
        Flag("--env HF_TOKEN", "hand on your Hugging Face token, for models that ask for one"),
        Flag(IMAGE, "vLLM's own image, whose program is its OpenAI-style server"),
        Flag(f"--model {shlex.quote(model)}", "the teacher, from the Hugging Face Hub or a folder"),
    )
    plain = (
        Flag(f"vllm serve {shlex.quote(model)}", "the teacher, from the Hugging Face Hub or a folder"),
        Flag(f"--port {port}", "where it answers"),
    )
    return [Command("Docker", (*docker, *shared)), Command("vLLM installed here", (*plain, *shared))]


def student_command(
    base: str,
    adapter: str,
    *,
    chat_format: str,
    chat_template: str,
    template_fields: Mapping[str, bool],
    name: str = "student",
    rank: int = 16,
    context: int = 2048,
    port: int = PORT,
) -> Command:
    """The command that serves the base model under its own name and, with the adapter, as `name`.

    `chat_template` is the file that the student was trained with, `template_fields` what that is told beside messages
    and tools, `chat_format` the family whose format it writes: both models are asked in it, whatever the base's own is.
    """
    flags = (
        Flag(f"vllm serve {shlex.quote(base)}", "the base model that the adapter was trained on"),
        Flag(f"--port {port}", "where it answers"),
        Flag("--enable-lora", "serve adapters beside the base model"),
        Flag(f"--lora-modules {name}={shlex.quote(adapter)}", f'a request for the model "{name}" gets the adapter'),
        Flag(f"--max-lora-rank {rank}", "the adapter's rank; vLLM refuses one above this"),
        Flag(f"--max-model-len {context}", CONTEXT_WHY),
        Flag(f"--chat-template {shlex.quote(chat_template)}", "the template that the adapter was trained with"),
        _told(template_fields),
        *_parser_flags(chat_format),
    )
    return Command("vLLM installed here", flags)


def model_command(
    model: str,
    *,
    chat_format: str,
    chat_template: str,
    template_fields: Mapping[str, bool],
    name: str = "student",
    context: int = 2048,
    port: int = PORT,
) -> Command:
    """The command that serves the whole model in the folder `model` as `name`, in the format `chat_format` writes."""
    flags = (
        Flag(f"vllm serve {shlex.quote(model)}", "the model as full fine-tuning left it"),
        Flag(f"--port {port}", "where it answers"),
        Flag(f"--served-model-name {name}", "what a request calls it"),
        Flag(f"--max-model-len {context}", CONTEXT_WHY),
        Flag(f"--chat-template {shlex.quote(chat_template)}", "the template that it was trained with"),
        _told(template_fields),
        *_parser_flags(chat_format),
    )
    return Command("vLLM installed here", flags)


def family_of(model: str) -> Family | None:
    """The family that `model`'s name tells, if vLLM's pages name its parsers."""
    lowered = model.lower()
    return next((family for family in FAMILIES if family.name in lowered), None)


CONTEXT_WHY = "tokens of prompt and completion together; more needs more GPU memory"


def _told(template_fields: Mapping[str, bool]) -> Flag:
    text = f"--default-chat-template-kwargs {shlex.quote(json.dumps(template_fields))}"
    return Flag(text, "what the rows told the template; a request may say otherwise")


def _parser_flags(model: str) -> Sequence[Flag]:
    family = family_of(model)
    parser = family.tool_parser if family else "hermes"
    why = (
        f'reads the calls of the "{family.name}" models'
        if family
        else ('the most common format; vLLM\'s page "Tool Calling" names the parser for each family')
    )
    flags = [
        Flag("--enable-auto-tool-choice", "let the model decide when to call a tool; without it tools are refused"),
        Flag(f"--tool-call-parser {parser}", why),
    ]
    if family and family.reasoning_parser:
        reason = "returns the reasoning apart from the content, where Tutelage looks for it"
        flags.append(Flag(f"--reasoning-parser {family.reasoning_parser}", reason))
    return flags
