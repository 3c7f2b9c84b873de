"""The rows of a trace, in tokens: exactly what the student will meet, or refused with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from tutelage.dataset.left_out import LeftOut
from tutelage.dataset.unroll import Unrolled, unroll
from tutelage.errors import TutelageError
from tutelage.project import Project
from tutelage.render.engine import CannotExpress
from tutelage.render.fit import fit
from tutelage.render.renderer import Renderer, TokenRow
from tutelage.render.serving import Serving
from tutelage.render.student import student_engine, student_template, student_tokenizer
from tutelage.trace import Trace

REASONING = ("keep", "off", "mask", "backfill")


class Row(NamedTuple):
    unrolled: Unrolled  # its messages are those that the student sees
    tokens: TokenRow
    results_cut: int  # tool results that gave way to a notice


@dataclass
class RowMaker:
    """Renders a project's rows; says of which there are none, and why."""

    renderer: Renderer
    serving: Serving
    max_length: int
    mask_empty_thinking: bool
    left_out: LeftOut = field(default_factory=LeftOut)
    too_long: int = 0  # of the rows left out
    longest: tuple[int, str] = (0, "")  # of those that are too long: tokens, and which row it is

    @classmethod
    def of(cls, project: Project, serving: Serving, reasoning: str, day: date | None = None) -> "RowMaker":
        """`day` is what the template takes for today. Raises TutelageError where the student cannot be rendered for."""
        student = project.settings.student
        renderer = Renderer(
            student_tokenizer(student, project.folder),
            student_template(student, project.folder),
            serving.thinking,
            send_reasoning=serving.send_reasoning,
            engine=student_engine(student),
            day=day,
        )
        return cls(renderer, serving, project.settings.dataset.max_length, reasoning == "mask")

    def rows(self, trace: Trace) -> Iterator[Row]:
        """The rows of `trace` that can be rendered and are not too long."""
        unrolled = unroll(trace, lambda step, reason: self.left_out.row(trace, step, reason))
        yield from filter(None, (self.row(each, trace) for each in unrolled))

    def row(self, unrolled: Unrolled, trace: Trace) -> Row | None:
        """None where it cannot be rendered or is too long."""
        try:
            row = self._row(unrolled, trace)
        except CannotExpress as error:
            self.left_out.row(trace, unrolled.step, error.reason, error.detail)
            return None
        return self.fitting(row, trace)

    def fitting(self, row: Row, trace: Trace) -> Row | None:
        """None where it is too long, which is counted."""
        length = len(row.tokens.input_ids)
        if length > self.max_length:
            self.left_out.row(trace, row.unrolled.step, f"longer than {self.max_length} tokens", f"{length} tokens")
            self.too_long += 1
            self.longest = max(self.longest, (length, f"step {row.unrolled.step} of trace {trace.id}"))
            return None
        return row

    def require_none_too_long(self) -> None:
        """Raises TutelageError that names the longest row."""
        if self.too_long:
            length, which = self.longest
            raise TutelageError(
                f"{self.too_long} rows are longer than {self.max_length} tokens; the longest, {which}, has {length}. "
                'Raise [dataset] max_length, or set over_length to "drop" or "cut_results".'
            )

    def _row(self, unrolled: Unrolled, trace: Trace) -> Row:
        history, answer = unrolled.messages[:-1], unrolled.messages[-1]
        shown = history
        if self.serving.over_length:
            shown = fit(
                history, lambda seen: len(self.renderer.prompt_tokens(seen, trace.tools)), self.serving.over_length
            )
        tokens = self.renderer.row((*shown, answer), trace.tools, teach_empty_thinking=not self.mask_empty_thinking)
        cut = sum(before is not after for before, after in zip(history, shown, strict=True))
        return Row(unrolled._replace(messages=(*shown, answer)), tokens, cut)
