"""Figures of the rows that are made: prints one `figure: value` line each.

    python benchmarks/rows.py                   # the long form: 2,000 conversations, 100,000 traces; over an hour
    python benchmarks/rows.py --short           # a look
    python benchmarks/rows.py --only exactness --template qwen3 --template llama3_1

What each template cannot express, and how often, stands in docs/templates.md; --table prints that table. render_speedup
needs TRL, which Tutelage never imports.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "render"))  # the judge and the conversations

from judge import Judge
from random_chats import Chat, conversations
from row_check import Outcome, RowCheck
from stock import STOCK, Stock

from rows_speed import FEW_TRACES, LARGE, SHORT, SPEED_TRACES, peak_rss_mb, render_speedup
from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.render.student import embedded_gguf

MANY, FEW = 92, 3  # conversations a template

Figures = Iterator[tuple[str, str]]  # each as soon as it is known


def exactness(options: argparse.Namespace) -> Figures:
    """Random conversations against llama.cpp, Transformers and TRL, on every template: no row may be inexact."""
    count = FEW if options.short else MANY
    chosen = [stock for stock in STOCK if not options.template or stock.name in options.template]
    outcomes = {}
    for stock in chosen:
        outcome = outcomes[stock.name] = check(stock, count)
        for text in outcome.mismatches:
            print(text, file=sys.stderr)
        yield f"refused_{stock.name}", share(outcome.refused.total(), outcome)
    if options.table:
        print("\n".join(table(outcomes)), file=sys.stderr)
    yield "conversations", str(count * len(chosen))
    yield "rows", str(sum(outcome.rows for outcome in outcomes.values()))
    yield "mismatches", str(sum(len(outcome.mismatches) for outcome in outcomes.values()))


def check(stock: Stock, count: int) -> Outcome:
    """`count` conversations, drawn anew for each template but the same in every run."""
    outcome = Outcome()

    @seed(zlib.crc32(stock.name.encode()))
    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(chat=conversations(), thinking=st.booleans())
    def draw(chat: Chat, thinking: bool) -> None:
        nonlocal outcome
        outcome += checker.check(chat, thinking)

    with EmbeddedEndpoint(embedded_gguf(), stock.text, context=512, parallel=1) as endpoint:
        checker = RowCheck(stock, Judge(endpoint.url))
        draw()
    return outcome


def table(outcomes: Mapping[str, Outcome]) -> list[str]:
    """What was refused and why, in Markdown."""
    lines = ["| template | rows | refused | why |", "| --- | --- | --- | --- |"]
    for name, outcome in outcomes.items():
        why = "; ".join(f"{reason} ({share(number, outcome)})" for reason, number in outcome.refused.most_common())
        lines.append(f"| `{name}` | {outcome.rows} | {share(outcome.refused.total(), outcome)} | {why} |")
    return lines


def share(part: int, outcome: Outcome) -> str:
    return f"{part / outcome.rows:.3f}"


def speed(options: argparse.Namespace) -> Figures:
    """Against TRL's SFTTrainer, which prepares the same rows."""
    count = FEW_TRACES if options.short else SPEED_TRACES
    yield "render_speedup", f"{render_speedup(options.trl_python, count):.1f}"


def memory(options: argparse.Namespace) -> Figures:
    """Of `tutelage dataset build`."""
    yield "peak_rss_mb", str(peak_rss_mb(options.traces or (SHORT if options.short else LARGE)))


FIGURES: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "exactness": exactness,
    "speed": speed,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--short", action="store_true", help="few conversations, a quarter of the rows against TRL, 5,000 traces"
    )
    parser.add_argument("--only", action="append", choices=FIGURES, help="these figures; may be given again")
    parser.add_argument("--template", action="append", choices=[stock.name for stock in STOCK], help="this template")
    parser.add_argument("--table", action="store_true", help="also what was refused and why, on standard error")
    parser.add_argument("--traces", type=int, help="so many for peak_rss_mb, instead of 100,000")
    parser.add_argument("--trl-python", default=sys.executable, help="the interpreter of an environment with TRL")
    options = parser.parse_args()
    for name in options.only or FIGURES:
        for figure, value in FIGURES[name](options):
            print(f"{figure}: {value}", flush=True)


if __name__ == "__main__":
    main()
