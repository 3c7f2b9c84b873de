"""What is wrong with a project's endpoint, servers and student, and what to do about it."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import openai

from tutelage.agent.arguments import is_object
from tutelage.agent.offer import MANY, Offer
from tutelage.agent.servers import connect_servers
from tutelage.endpoint.addresses import is_local
from tutelage.endpoint.client import ChatEndpoint, Completion
from tutelage.endpoint.errors import EndpointError
from tutelage.endpoint.services import start_services
from tutelage.endpoint.teacher import services_not_needed
from tutelage.endpoint.vllm import family_of
from tutelage.errors import TutelageError
from tutelage.project import Project, expand
from tutelage.settings import Teacher
from tutelage.trace import Message, Task, Tool
from tutelage.world import open_world, worlds_folder

PROBE_SECONDS = 120.0
# Names that tell a family; longer ones first where one contains another.
FAMILY_NAMES = re.compile(
    r"(?<![a-z])"
    r"(smollm|gpt-oss|deepseek|mistral|mixtral|granite|gemma|llama|qwen|qwq|olmo|kimi|glm|phi|gpt|claude|gemini)"
)
SAME_FAMILY = {"qwq": "qwen", "mixtral": "mistral"}


class Finding(NamedTuple):
    level: Literal["ok", "warning", "error"]
    what: str
    fix: str = ""


def check_project(
    project: Project, *, teacher_url: str | None = None, teacher_model: str | None = None
) -> list[Finding]:
    """Check tasks, settings, the student, services, MCP servers and the endpoints, in this order.

    The endpoint is asked the first training task with the project's own tools; its answer's calls are not run.
    """
    findings = [*_check_tasks(project), *_check_training(project), *_check_student(project)]
    teacher: Teacher | None = None
    try:
        teacher = project.teacher(teacher_url, teacher_model)
        findings += _check_families(teacher.model, project.settings.student.model)
    except TutelageError as error:
        findings.append(_error(error))
    try:
        with ExitStack() as stack:
            worlds = stack.enter_context(worlds_folder())
            skip = services_not_needed(project, teacher_url)
            values = stack.enter_context(start_services(project, worlds, skip=skip))
            findings += [Finding("ok", f'Service "{name}" is ready.') for name in project.settings.services]
            findings += asyncio.run(_check_running(project, teacher, worlds, values))
    except TutelageError as error:
        findings.append(_error(error))
    return list(dict.fromkeys(findings))  # a function that cannot be loaded is met twice


def _check_tasks(project: Project) -> list[Finding]:
    findings = []
    splits: dict[str, list[Task]] = {}
    for split in ("train", "evaluate"):
        try:
            splits[split] = project.tasks(split)
            findings.append(Finding("ok", f"{len(splits[split])} tasks to {split}."))
        except TutelageError as error:
            findings.append(_error(error))
    shared = {task.id for task in splits.get("train", [])} & {task.id for task in splits.get("evaluate", [])}
    if shared:
        some = ", ".join(sorted(shared)[:3])
        findings.append(
            Finding("error", f"{len(shared)} task ids stand in both files ({some}).", "Held-out tasks need their own.")
        )
    if project.settings.tasks.verifier is None:
        findings.append(
            Finding("warning", "No verifier: traces get no reward.", "Name one, or approve traces by hand.")
        )
    for role in ("prepare", "verifier"):
        try:
            getattr(project, role)
        except TutelageError as error:
            findings.append(_error(error))
    return findings


def _check_training(project: Project) -> list[Finding]:
    from tutelage.train.stage import train_config

    try:
        train_config(project)
    except TutelageError as error:
        return [_error(error)]
    return []


def _check_student(project: Project) -> list[Finding]:
    from tutelage.render.student import EMBEDDED_MODEL, student_gguf

    student = project.settings.student
    if student.model == EMBEDDED_MODEL or student.model.endswith(".gguf"):
        try:
            return [Finding("ok", f"The student's weights are there: {student_gguf(student, project.folder).name}.")]
        except TutelageError as error:
            return [_error(error)]
    folder = project.path(student.model)
    if folder.is_dir():
        weights = any(folder.glob("*.safetensors")) and (folder / "config.json").is_file()
        if weights and not student.url:
            fix = "Serve it (`tutelage serve --engine vllm --print`) and name its URL as [student] url."
            return [Finding("warning", f"Evaluating the student {folder} needs an endpoint that serves it.", fix)]
        if weights:
            return [Finding("ok", f"The student's weights are there: {folder}.")]
        fix = "Save the model there with save_pretrained, or name another folder."
        return [Finding("error", f"{folder} holds no config.json and *.safetensors.", fix)]
    fix = f"Download it: hf download {student.model} --local-dir FOLDER, and name that folder."
    return [Finding("error", f'The student "{student.model}" is no folder and no GGUF file.', fix)]


def _check_families(teacher: str, student: str) -> list[Finding]:
    first, second = family_name(teacher), family_name(student)
    if first is None or second is None or first == second:
        return []
    return [
        Finding(
            "warning",
            f'Teacher "{teacher}" and student "{student}" are of different families ({first}, {second}).',
            "A student learns the words of its own family faster: a larger model of its family teaches better.",
        )
    ]


def family_name(model: str) -> str | None:
    """The family that a model's name tells; None where it tells none, as for a scripted teacher."""
    found = FAMILY_NAMES.search(model.lower().rpartition("/")[2])
    return SAME_FAMILY.get(found[0], found[0]) if found else None


async def _check_running(
    project: Project, teacher: Teacher | None, worlds: Path, values: Mapping[str, str]
) -> list[Finding]:
    """The MCP servers, then the endpoint with their tools."""
    try:
        task = project.tasks("train")[0]
    except TutelageError:
        task = Task(id="doctor", turns=("What can you do?",))
    findings: list[Finding] = []
    tools: tuple[Tool, ...] = ()
    try:
        with open_world(task, worlds, project.prepare) as world:
            async with connect_servers(project.mcp_servers(values), world, offer=Offer.of(project)) as servers:
                tools = servers.tools
        for name in dict.fromkeys(tool.server for tool in tools):
            own = [tool for tool in tools if tool.server == name]
            size = sum(len(tool.definition) for tool in own)
            what = f'MCP server "{name}": {len(own)} tools ({size} characters of schema in every prompt).'
            findings.append(Finding("ok", what))
        if len(tools) > MANY:
            fix = "A small model chooses badly among so many: leave some out, see `tutelage tools`."
            findings.append(Finding("warning", f"The MCP servers offer {len(tools)} tools together.", fix))
        if not tools:
            findings.append(Finding("error", "No MCP server offers a tool.", "Check mcp.json."))
    except TutelageError as error:
        findings.append(_error(error))
    if teacher:
        findings += await _check_endpoint(project, teacher, task, tools, values)
    student = project.settings.student
    if student.url:
        url = expand(student.url, values, "tutelage.toml: student: url")
        findings += await _check_models(url, student.model, None, student.context, whose="[student]")
    return findings


async def _check_endpoint(
    project: Project, teacher: Teacher, task: Task, tools: tuple[Tool, ...], values: Mapping[str, str]
) -> list[Finding]:
    url = expand(teacher.url, values, "tutelage.toml: teacher: url")
    key = os.environ.get(teacher.api_key_env)
    findings = await _check_models(url, teacher.model, key, project.settings.rollout.max_total_tokens)
    if any(finding.level == "error" for finding in findings):
        return findings
    system = project.system_prompt()
    messages = [Message(role="system", content=system)] if system else []
    messages.append(Message(role="user", content=task.turns[0]))
    async with ChatEndpoint(url, teacher.model, key, teacher.sampling, PROBE_SECONDS) as endpoint:
        try:
            completion = await endpoint.complete(messages, tools)
        except EndpointError as error:
            fix = "If it refuses tools: see `tutelage endpoint --print` for the flags that a server needs."
            return [*findings, Finding("error", str(error), fix)]
    return [*findings, *_judge(completion, teacher.model, bool(tools))]


async def _check_models(
    url: str, model: str, key: str | None, budget: int, *, whose: str = "[teacher]"
) -> list[Finding]:
    """Is it reachable, does it serve the model, and how long a context does it say it has?"""
    http_client = openai.DefaultAsyncHttpxClient(trust_env=False) if is_local(url) else None
    async with openai.AsyncOpenAI(
        base_url=url, api_key=key or "none", timeout=10, max_retries=0, http_client=http_client
    ) as client:
        try:
            data = json.loads(await client.get("/models", cast_to=str))["data"]
            served = {str(entry["id"]): entry for entry in data}
        except openai.APIConnectionError:
            fix = f"Start its server, or correct {whose} url (most end in /v1)."
            return [Finding("error", f"The endpoint {url} cannot be reached.", fix)]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                return [Finding("error", f"The endpoint {url} refuses the key.", "Set the variable of api_key_env.")]
            return [Finding("warning", f"The endpoint {url} lists no models ({error.status_code}).")]
        except (ValueError, KeyError, TypeError):
            return [Finding("warning", f"The endpoint {url} lists its models in a form of its own.")]
    if model not in served:
        known = ", ".join(sorted(served)[:8])
        return [Finding("error", f'The endpoint {url} does not serve "{model}".', f"It serves: {known}.")]
    context = served[model].get("max_model_len") or (served[model].get("meta") or {}).get("n_ctx")
    if not context:
        return [Finding("ok", f'The endpoint {url} serves "{model}" (it does not say how long its context is).')]
    findings = [Finding("ok", f'The endpoint {url} serves "{model}" with a context of {context} tokens.')]
    if int(context) < budget:
        setting = "[rollout] max_total_tokens" if whose == "[teacher]" else "[student] context"
        fix = f"Serve it with a longer context, or lower {setting}."
        findings.append(Finding("warning", f"A rollout may take {budget} tokens, more than that context.", fix))
    return findings


def _judge(completion: Completion, model: str, asked_with_tools: bool) -> list[Finding]:
    message = completion.message
    family = family_of(model)
    findings = []
    if message.reasoning_content:
        findings.append(Finding("ok", "Reasoning comes back apart from the content."))
    else:
        parser = f" (vLLM: --reasoning-parser {family.reasoning_parser})" if family and family.reasoning_parser else ""
        fix = f"Turn thinking and the server's reasoning parser on{parser}, or take a teacher that shows its reasoning."
        findings.append(Finding("warning", "The teacher keeps its reasoning to itself: none came back.", fix))
    if message.tool_calls:
        broken = [call.name for call in message.tool_calls if not is_object(call.arguments)]
        if broken:
            what = f"Tool calls came back with arguments that are no JSON object ({broken[0]})."
            findings.append(Finding("error", what, "Check the server's tool-call parser."))
        else:
            findings.append(Finding("ok", "Tool calls come back as JSON."))
    elif asked_with_tools:
        written = bool(re.search(r"<tool_call>|\"arguments\"|<function", message.content or ""))
        if written:
            parser = family.tool_parser if family else "the one for its family"
            fix = f"Serve it with a tool-call parser (vLLM: --enable-auto-tool-choice --tool-call-parser {parser})."
            findings.append(Finding("error", "Tool calls come back as text in the content.", fix))
        else:
            what = "The teacher answered the first training task without calling a tool."
            findings.append(Finding("warning", what, "Look at a trace: `tutelage collect --limit 1`."))
    return findings


def _error(error: TutelageError) -> Finding:
    """An error's first line as what is wrong, the rest as what to do or what was said."""
    what, _, rest = str(error).partition("\n")
    return Finding("error", what, rest)
