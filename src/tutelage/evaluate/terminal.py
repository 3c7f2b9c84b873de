"""The report on the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.evaluate.contents import Report, duration, p_value, percent, points

COLOURS = {"before": "yellow", "after": "blue", "teacher": "bright_black"}
BAR = 24  # characters


def show(report: Report, console: Console) -> None:
    """Print the report's figures; traces and plots are on the page."""
    console.print(Text(report.headline, style="bold"))
    console.print(_rates(report))
    for line in _sentences(report):
        console.print(Text(line), soft_wrap=True)
    console.print(_counts("By kind of task", "kind", [(row.kind, row.solved) for row in report.kinds], report))
    if report.failures:
        rows = [(row.category, row.counts) for row in report.failures]
        console.print(_counts("What went wrong (unsolved tasks)", "category", rows, report))
    if report.stages:
        console.print(_stages(report))
    console.print(_facts("Training", [(fact.what, fact.where) for fact in report.training]))
    console.print(_facts("Where each number came from", [(fact.what, fact.where) for fact in report.sources]))


def _rates(report: Report) -> Table:
    table = _table()
    for _ in range(4):
        table.add_column()
    for variant in report.variants:
        style = COLOURS.get(variant.name, "")
        full = round(BAR * variant.success)
        bar = Text("━" * full, style=style) + Text("─" * (BAR - full), style="dim")
        low, high = variant.interval
        interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
        table.add_row(
            Text(variant.label, style=style),
            bar,
            Text(f"{percent(variant.success)} ({variant.solved} of {variant.tasks})", style="bold"),
            Text(interval, style="dim"),
        )
    return table


def _sentences(report: Report) -> list[str]:
    lines = []
    if report.comparison:
        found = report.comparison
        lines.append(
            f"{points(found.difference)} percentage points (95 % interval {points(found.interval.low)} to "
            f"{points(found.interval.high)}); {found.table.gained} tasks gained, {found.table.lost} lost; "
            f"McNemar's exact test: {p_value(found.p)}."
        )
    lines += [f"The {variant.name} is a script, no language model." for variant in report.variants if variant.scripted]
    if report.other_adapter:
        lines.append("The student was trained anew since this evaluation. Run `tutelage evaluate` again.")
    return lines


def _counts(title: str, first: str, rows: list[tuple[str, tuple[int, ...]]], report: Report) -> Table:
    table = _table(title)
    table.add_column(first)
    for variant in report.variants:
        table.add_column(variant.label, justify="right", style=COLOURS.get(variant.name, ""))
    for name, counts in rows:
        table.add_row(Text(name), *(str(count) for count in counts))
    return table


def _stages(report: Report) -> Table:
    table = _table("Where the time went")
    table.add_column("stage")
    table.add_column("time", justify="right")
    table.add_column("share", justify="right")
    for name, seconds in report.stages:
        table.add_row(Text(name), duration(seconds), percent(seconds / (report.seconds or 1)))
    table.add_row("total", duration(report.seconds), "", style="bold")
    return table


def _facts(title: str, facts: list[tuple[str, str]]) -> Table | Text:
    if not facts:
        return Text("")
    table = _table(title)
    table.show_header = False
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, where in facts:
        table.add_row(Text(what), Text(where))
    return table


def _table(title: str | None = None) -> Table:
    return Table(
        title=title and f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
