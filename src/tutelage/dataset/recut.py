"""Tool results cut as the student will see them, whatever a trace was collected with: no rollout is needed for it."""

from tutelage.project import Project
from tutelage.render.truncate import Cutter, noted
from tutelage.settings import ToolResults
from tutelage.store import TraceStore
from tutelage.trace import WHOLE_TEXT, Message, Trace


class Recutter:
    """Gives traces as `policy` cuts them; `results` counts the tool results that became others."""

    def __init__(self, project: Project, policy: ToolResults, store: TraceStore | None) -> None:
        """`store` holds what was cut; without one, results can only become shorter."""
        self._project, self._store = project, store
        self._cut = self._cutter(policy)
        self.results = 0

    def _cutter(self, policy: ToolResults) -> Cutter:
        return Cutter(policy, self._project.settings.student, self._project.folder)

    def __call__(self, trace: Trace) -> Trace:
        own = noted(trace.metadata)
        if own == self._cut.policy:
            return trace
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
