"""Tool results cut as the student will see them, whatever a trace was collected with: no rollout is needed for it."""

from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.truncate import Cutter, noted, was_cut
from tutelage.settings import ToolResults
from tutelage.store import TraceStore
from tutelage.trace import WHOLE_TEXT, Message, Trace


class Recutter:
    """Gives traces as `policy` cuts them; `results` counts the tool results that became others."""

    def __init__(self, project: Project, policy: ToolResults, store: TraceStore | None) -> None:
        """`store` holds what was cut; without one, of a dataset that was published, nobody can have it back."""
        self._project, self._store = project, store
        self._cut = self._cutter(policy)
        self.results = 0

    def _cutter(self, policy: ToolResults) -> Cutter:
        return Cutter(policy, self._project.settings.student, self._project.folder)

    def __call__(self, trace: Trace) -> Trace:
        own = noted(trace.metadata)
        if own == self._cut.policy:
            return trace
        if own and self._store is None:
            _require_whole(trace, own, self._cut.policy)
        before = self._cutter(own) if own else None
        messages = tuple(
            self._message(message, before) if message.role == "tool" else message for message in trace.messages
        )
        self.results += sum(old is not new for old, new in zip(trace.messages, messages, strict=True))
        return trace.model_copy(update={"messages": messages})

    def _message(self, message: Message, before: Cutter | None) -> Message:
        """`before` made the result what it is; None: somebody else, who may have cut it too."""
        content = message.content or ""
        whole = self._whole(message)
        if before and whole is None:
            found = self._cut(content)
        elif before and whole is not None and before(whole) == content:  # else a person changed it
            found = self._cut(whole)
        else:
            found = self._cut.again(content)
        return message if found == content else message.model_copy(update={"content": found})

    def _whole(self, message: Message) -> str | None:
        for part in message.parts:
            if part.name == WHOLE_TEXT and self._store:
                data = self._store.blob(part.sha256)
                return data.decode(errors="replace") if data is not None else None
        return None


def _require_whole(trace: Trace, own: ToolResults, policy: ToolResults) -> None:
    """What is left of a result, cut once more, is not what would be left of the whole. Raises TutelageError."""
    if any(message.role == "tool" and was_cut(message.content or "") for message in trace.messages):
        raise TutelageError(
            f"Trace {trace.id} holds tool results that were cut ({_said(own)}) before the dataset was published; they "
            f"cannot be cut as the project's student is shown them ({_said(policy)}). Set [rollout] tool_results as "
            "they were cut, or have the dataset built and pushed anew."
        )


def _said(policy: ToolResults) -> str:
    return f"{policy.cut}, limit {policy.limit} {policy.unit}"
