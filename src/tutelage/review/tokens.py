"""The exact tokens of one step's row: what the student is shown, and what it is taught to emit."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from tutelage.project import Project
from tutelage.render.fit import fit
from tutelage.render.recut import Recutter
from tutelage.render.renderer import Renderer
from tutelage.render.serving import Serving, planned_serving
from tutelage.render.student import Tokenizer, student_engine, student_template, student_tokenizer
from tutelage.store import TraceStore
from tutelage.trace import Message, Trace


class Token(NamedTuple):
    """One token, or several that only together make text (a character may be spread over them)."""

    ids: tuple[int, ...]
    text: str
    trained: bool


class Row(NamedTuple):
    tokens: list[Token]
    length: int
    trained: int  # tokens that carry loss


@dataclass(frozen=True)
class StepRows:
    """Makes rows as the dataset does by the settings of now."""

    renderer: Renderer
    serving: Serving
    recut: Recutter
    teach_empty_thinking: bool

    @classmethod
    def of(cls, project: Project, store: TraceStore) -> "StepRows":
        """Raises TutelageError where the student is not there."""
        student, serving = project.settings.student, planned_serving(project.settings)
        renderer = Renderer(
            student_tokenizer(student, project.folder),
            student_template(student, project.folder),
            serving.thinking,
            send_reasoning=serving.send_reasoning,
            engine=student_engine(student),
        )
        recut = Recutter(project, serving.tool_results, store)
        return cls(renderer, serving, recut, project.settings.dataset.reasoning != "mask")

    def row(self, trace: Trace, index: int) -> Row:
        """The row that teaches the message at `index`. Raises CannotExpress where there is none."""
        *history, answer = self.recut(trace).messages[: index + 1]
        shown: Sequence[Message] = history
        if self.serving.over_length:
            shown = fit(
                history, lambda seen: len(self.renderer.prompt_tokens(seen, trace.tools)), self.serving.over_length
            )
        row = self.renderer.row((*shown, answer), trace.tools, teach_empty_thinking=self.teach_empty_thinking)
        tokens: list[Token] = []
        places = range(len(row.input_ids))
        for (_, trained), part in groupby(places, key=lambda at: (at < row.prompt_length, row.weights[at] > 0)):
            tokens += _readable(self.renderer.tokenizer, [row.input_ids[at] for at in part], trained)
        return Row(tokens, len(row.input_ids), sum(weight > 0 for weight in row.weights))


LONGEST_CHARACTER = 8  # tokens; a replacement character that is still there then is the text's own


def _readable(tokenizer: Tokenizer, ids: Sequence[int], trained: bool) -> list[Token]:
    tokens: list[Token] = []
    waiting: list[int] = []
    for id in ids:
        waiting.append(id)
        text = tokenizer.decode(waiting)
        if "\N{REPLACEMENT CHARACTER}" not in text or len(waiting) == LONGEST_CHARACTER:
            tokens.append(Token(tuple(waiting), text, trained))
            waiting = []
    if waiting:
        tokens.append(Token(tuple(waiting), tokenizer.decode(waiting), trained))
    return tokens
