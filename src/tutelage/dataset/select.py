"""Which traces are kept, and which tasks are kept back for the evaluation loss."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tutelage.project import Project
from tutelage.store import TraceSummary
from tutelage.trace import (
    StopReason,
    Task,
    Trace,
    Verdict,
    prompt_beginnings,
    prompt_content,
    setup_is_known,
    task_content,
)

# Why a trace was left out, as the summary counts it.
UNFINISHED, REJECTED, UNJUDGED = "not finished", "rejected", "neither reward nor approval"
EDITED = "edited and not approved yet"
LEAKED, DUPLICATE, ROWLESS = "evaluation task", "same messages as another trace", "no row could be made"
LEAST_TASKS_TO_SPLIT = 20  # with as many, at least one is for validation


def reason_to_leave_out(trace: TraceSummary, min_reward: float) -> str | None:
    """None keeps the trace: approved, or with enough reward and not rejected.

    The reward is of what the model did, so that an edited trace needs a reviewer's word.
    """
    if not trace.finished:
        return UNFINISHED
    if trace.verdict is Verdict.REJECTED:
        return REJECTED
    if trace.verdict is Verdict.APPROVED:
        return None
    if trace.revision > 0:
        return EDITED
    if trace.reward is None:
        return UNJUDGED
    return f"reward below {min_reward:g}" if trace.reward < min_reward else None


def is_worse(trace: TraceSummary, min_reward: float) -> bool:
    """Rejected; or ended with too little reward, by the model's own doing, and nobody said otherwise."""
    if not trace.finished or trace.verdict is Verdict.APPROVED:
        return False
    own_doing = trace.stop_reason not in (StopReason.ENDPOINT_ERROR, StopReason.SERVER_ERROR)
    too_little = trace.revision == 0 and trace.reward is not None and trace.reward < min_reward
    return trace.verdict is Verdict.REJECTED or (own_doing and too_little)


class EvaluationTasks:
    """Tasks that never reach training, by id and by content (design.md, invariant 5)."""

    def __init__(self, tasks: Sequence[Task] | None) -> None:
        """`tasks` None: there is no file of them."""
        self.count = None if tasks is None else len(tasks)
        tasks = tasks or ()
        self._ids = {task.id for task in tasks}
        self._contents = {task_content(task) for task in tasks}
        self._prompts = {prompt_content(task) for task in tasks}
        self._beginnings = {beginning for task in tasks for beginning in prompt_beginnings(task)}

    @classmethod
    def of(cls, project: Project) -> "EvaluationTasks":
        there = project.path(project.settings.tasks.evaluate).exists()
        return cls(project.tasks("evaluate") if there else None)

    def has_id(self, id: str) -> bool:
        return id in self._ids

    def hold(self, trace: Trace) -> bool:
        """Of a trace that was imported, or recorded by the proxy, nobody knows the setup: the same prompt is enough.

        Nor does anybody know whether it is a whole task: it is enough that the turns of the one begin with the other's.
        """
        task = trace.task
        if task.id in self._ids or task_content(task) in self._contents:
            return True
        if setup_is_known(trace.metadata):
            return False
        asked = prompt_beginnings(task)
        return asked[-1] in self._beginnings or not self._prompts.isdisjoint(asked)


def trace_content(trace: Trace) -> bytes:
    """A digest of a trace's tools, messages and what is taught; the ids of its calls do not tell two traces apart."""
    number: dict[str, str] = {}
    messages = []
    for message in trace.messages:
        data = {**message.to_openai(), "weight": message.weight}
        for call in data.get("tool_calls", ()):
            call["id"] = number.setdefault(call["id"], str(len(number)))
        if "tool_call_id" in data:
            data["tool_call_id"] = number.get(data["tool_call_id"], data["tool_call_id"])
        messages.append(data)
    return _digest(json.dumps([[tool.definition for tool in trace.tools], messages], ensure_ascii=False))


class Asked(NamedTuple):
    """What a trace's task is known by."""

    id: str
    content: str
    prompt: str
    setup_is_known: bool  # else the content says no more than the prompt


def validation_traces(asked: Mapping[str, Asked], share: float, seed: int) -> set[str]:
    """The traces kept for validation, of `asked`: trace id -> its task.

    Traces whose tasks share an id or a content are of one task; so are those with a prompt in common, where of one of
    them nobody knows the setup. Kept are the tasks with the lowest digest of seed and id: adding tasks moves few.
    """
    same = _Same()
    unknown = {task.prompt for task in asked.values() if not task.setup_is_known}
    for task in asked.values():
        same.join(f"id {task.id}", f"content {task.content}")
        if task.prompt in unknown:
            same.join(f"id {task.id}", f"prompt {task.prompt}")
    named: dict[str, str] = {}  # a task's group -> its first id
    for task in asked.values():
        group = same.group(f"id {task.id}")
        named[group] = min(task.id, named.get(group, task.id))
    count = round(share * len(named))
    if share > 0 and len(named) >= LEAST_TASKS_TO_SPLIT:
        count = max(count, 1)
    kept = set(sorted(named, key=lambda group: _digest(f"{seed}:{named[group]}"))[:count])
    return {trace for trace, task in asked.items() if same.group(f"id {task.id}") in kept}


class _Same:
    """Names that mean the same: disjoint sets, each known by one of its names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def group(self, name: str) -> str:
        while (parent := self._parent.get(name, name)) != name:
            self._parent[name] = name = self._parent.get(parent, parent)
        return name

    def join(self, one: str, other: str) -> None:
        self._parent[self.group(one)] = self.group(other)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
