"""The exact tokens of one step's row: what the student is shown, and what it is taught to emit."""

from collections.abc import Sequence
from typing import NamedTuple

from tutelage.project import Project
from tutelage.render.renderer import Renderer
from tutelage.render.student import Tokenizer, student_engine, student_template, student_tokenizer
from tutelage.trace import Message, Tool


class Token(NamedTuple):
    """One token, or several that only together make text (a character may be spread over them)."""

    ids: tuple[int, ...]
    text: str
    trained: bool


class Row(NamedTuple):
    tokens: list[Token]
    length: int
    trained: int  # tokens that carry loss


def project_renderer(project: Project) -> Renderer:
    """As the dataset is rendered. Raises TutelageError where the student is not there."""
    settings = project.settings
    return Renderer(
        student_tokenizer(settings.student, project.folder),
        student_template(settings.student, project.folder),
        settings.student.thinking,
        send_reasoning=settings.rollout.send_reasoning,
        engine=student_engine(settings.student),
    )


def token_row(renderer: Renderer, messages: Sequence[Message], tools: Sequence[Tool]) -> Row:
    """The row that teaches the last of `messages`. Raises CannotExpress where there is none."""
    row = renderer.row(messages, tools)
    tokens: list[Token] = []
    for start, end in ((0, row.prompt_length), (row.prompt_length, len(row.input_ids))):
        trained = end > start and row.weights[start] > 0
        tokens += _readable(renderer.tokenizer, row.input_ids[start:end], trained)
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
