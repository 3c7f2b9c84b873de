"""Which traces are kept, and which tasks are kept back for the evaluation loss."""

import hashlib
import json
from collections.abc import Iterable

from tutelage.store import TraceSummary
from tutelage.trace import Task, Trace, Verdict, task_content

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


class EvaluationTasks:
    """Tasks that never reach training, by id and by content (design.md, invariant 5)."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        tasks = list(tasks)
        self._ids = {task.id for task in tasks}
        self._contents = {task_content(task) for task in tasks}

    def has_id(self, id: str) -> bool:
        return id in self._ids

    def hold(self, task: Task) -> bool:
        return task.id in self._ids or task_content(task) in self._contents


def trace_content(trace: Trace) -> str:
    """A digest of a trace's tools and messages; the ids of its calls do not tell two traces apart."""
    number: dict[str, str] = {}
    messages = []
    for message in trace.messages:
        data = message.to_openai()
        for call in data.get("tool_calls", ()):
            call["id"] = number.setdefault(call["id"], str(len(number)))
        if "tool_call_id" in data:
            data["tool_call_id"] = number.get(data["tool_call_id"], data["tool_call_id"])
        messages.append(data)
    return _digest(json.dumps([[tool.definition for tool in trace.tools], messages], ensure_ascii=False))


def validation_tasks(task_ids: Iterable[str], share: float, seed: int) -> set[str]:
    """The tasks kept for validation: those with the lowest digest of seed and id, so that adding tasks moves few."""
    tasks = set(task_ids)
    count = round(share * len(tasks))
    if share > 0 and len(tasks) >= LEAST_TASKS_TO_SPLIT:
        count = max(count, 1)
    return set(sorted(tasks, key=lambda id: _digest(f"{seed}:{id}"))[:count])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
