"""How the agent shows conversations to the student: as the dataset did that it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tutelage.endpoint.extra import TEMPLATE_FIELDS
from tutelage.project import Project
from tutelage.render.engine import CannotExpress
from tutelage.render.fit import fit
from tutelage.render.renderer import Renderer
from tutelage.render.serving import Serving, planned_serving, read_serving
from tutelage.render.student import student_engine, student_template, student_tokenizer
from tutelage.render.truncate import Cutter
from tutelage.settings import RolloutLimits
from tutelage.trace import Message, Tool


@dataclass(frozen=True)
class StudentView:
    """The project's student as the agent sees it; loads the student's tokenizer where something is to be counted."""

    project: Project
    serving: Serving

    @classmethod
    def open(cls, project: Project, adapter: Path) -> "StudentView":
        """As the adapter's folder says; before training, as the settings do. Raises TutelageError."""
        return cls(project, read_serving(adapter) or planned_serving(project.settings))

    @property
    def limits(self) -> RolloutLimits:
        shown = {
            "send_reasoning": self.serving.send_reasoning,
            "tool_results": self.serving.tool_results,
        }
        return self.project.settings.rollout.model_copy(update=shown)

    @cached_property
    def cut(self) -> Cutter:
        """Cuts tool results as the dataset did."""
        return Cutter(self.serving.tool_results, self.project.settings.student, self.project.folder)

    @property
    def extra(self) -> Mapping[str, Any]:
        """Fields of every request's body. llama.cpp and vLLM know them by the same name."""
        return {TEMPLATE_FIELDS: self.serving.template_fields}

    def show(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
        """`messages` with old tool results cut if they are too long. What cannot be rendered is left as it is."""
        if self.serving.over_length is None:
            return messages
        try:
            return fit(
                messages, lambda shown: len(self._renderer.prompt_tokens(shown, tools)), self.serving.over_length
            )
        except CannotExpress:  # the engine will refuse it too
            return messages

    @cached_property
    def _renderer(self) -> Renderer:
        student, folder = self.project.settings.student, self.project.folder
        return Renderer(
            student_tokenizer(student, folder),
            student_template(student, folder),
            self.serving.thinking,
            send_reasoning=self.serving.send_reasoning,
            engine=student_engine(student),
        )
