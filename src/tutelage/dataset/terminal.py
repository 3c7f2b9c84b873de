"""What a build says of itself, as tables on a terminal."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from tutelage.dataset.select import DUPLICATE, LEAKED
from tutelage.dataset.summary import REASONING_KINDS, BuildSummary

BAR = 40  # characters of the longest bar
SHOWN = 8  # characters of a trace's id


class SummaryTables:
    """`console.print(SummaryTables(summary))`."""

    def __init__(self, summary: BuildSummary) -> None:
        self.summary = summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        summary = self.summary
        tables = (self._splits(), self._left_out(), _counts("calls taught, train", summary.tools), self._kinds())
        for table in (*tables, self._reasoning(), self._lengths()):
            if not isinstance(table, Table) or table.row_count:
                yield table
                yield ""
        yield Text(summary.sentence(), style="bold")

    def _splits(self) -> RenderableType:
        table = _table("split", "tasks", "traces", "rows", "tokens unrolled", "tokens in the tree", "tokens trained")
        for name, split in (("train", self.summary.train), ("validation", self.summary.validation)):
            tree = f"{self.summary.tokens_tree:,}" if name == "train" else ""
            counts = [split.tasks, split.traces, split.rows, split.tokens_unrolled]
            table.add_row(name, *(f"{count:,}" for count in counts), tree, f"{split.tokens_trained:,}")
        return table

    def _left_out(self) -> RenderableType:
        """Duplicates and evaluation tasks also where there are none."""
        traces = {DUPLICATE: 0, LEAKED: 0, **self.summary.traces_left_out}
        counts = [("traces", reason, count) for reason, count in traces.items()]
        counts += [("rows", reason, count) for reason, count in self.summary.rows_left_out.items()]
        table = _table("left out", "")
        table.add_column("such as")
        for what, reason, count in sorted(counts, key=lambda item: (-item[2], item[:2])):
            first = self.summary.left_out_first.get(reason, [])[:1]
            table.add_row(escape(f"{what}: {reason}"), f"{count:,}", *map(_short, first))
        return table

    def _kinds(self) -> RenderableType:
        table = _table("kinds of task, train", "traces", "rows")
        for name, kind in self.summary.kinds.items():
            table.add_row(escape(name), f"{kind.traces:,}", f"{kind.rows:,}")
        return table

    def _reasoning(self) -> RenderableType:
        what = "reasoning" if self.summary.serving.thinking else "reasoning, left out"
        table = _table(what, "rows", "share")
        rows = sum(self.summary.reasoning_rows.values())
        for kind, count in self.summary.reasoning_rows.items():
            table.add_row(REASONING_KINDS[kind], f"{count:,}", f"{count / rows:.0%}")
        return table

    def _lengths(self) -> RenderableType:
        table = _table("tokens of a row", "rows")
        table.add_column("")
        most = max(self.summary.lengths.values(), default=1)
        for length, count in self.summary.lengths.items():
            table.add_row(length, f"{count:,}", "█" * max(1, round(BAR * count / most)))
        return table


def _short(name: str) -> str:
    """A trace's id, as the commands take it, and the step if it has one."""
    id, _, step = name.partition(" ")
    return f"{id[:SHOWN]} {step}".rstrip()


def _counts(what: str, counts: dict[str, int]) -> Table:
    table = _table(what, "")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(escape(name), f"{count:,}")
    return table


def _table(first: str, *others: str) -> Table:
    return Table(Column(first), *(Column(name, justify="right") for name in others), box=None, pad_edge=False)
