"""What curation says of itself, as tables on a terminal."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from tutelage.curate.report import CurationReport, StepReport

SHOWN = 5  # traces of a step that are named


class CurationTables:
    """`console.print(CurationTables(report))`."""

    def __init__(self, report: CurationReport) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._steps()
        yield ""
        named = Table(Column("trace", no_wrap=True), "step", "why", box=None, pad_edge=False)
        for step in self.report.steps:
            for each in step.removed[:SHOWN]:
                named.add_row(each.trace[:10], step.step, escape(each.detail))
            for id, note in list(step.masked.items())[:SHOWN]:
                named.add_row(id[:10], step.step, escape(note))
        if named.row_count:
            yield named
            yield ""
        for step in self.report.steps:
            if step.agreement is not None:
                yield Text(f"{step.step}: {step.agreement.sentence()}")
        yield Text(self.report.sentence(), style="bold")

    def _steps(self) -> Table:
        numbers = (Column(name, justify="right") for name in ("looked at", "taken out", "left"))
        table = Table("step", *numbers, "why", box=None, pad_edge=False)
        for step in self.report.steps:
            counts = (f"{count:,}" for count in (step.looked_at, len(step.removed), step.left))
            table.add_row(step.step, *counts, escape(self._why(step)))
        return table

    def _why(self, step: StepReport) -> str:
        parts = [f"{why} {count:,}" for why, count in step.why().items()]
        if step.masked:
            parts.append(f"{len(step.masked):,} {'to be masked' if self.report.dry_run else 'masked'}")
        if step.asked:
            parts.append(f"{step.asked:,} {'to be scored' if self.report.dry_run else 'scored now'}")
        if step.unscored:
            parts.append(f"{step.unscored:,} without a score")
        return ", ".join(parts)
