"""What a build says of itself: build.json."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tutelage.render.serving import Serving

SplitName = Literal["train", "validation"]
SPLITS: tuple[SplitName, ...] = ("train", "validation")
# Where an answer's reasoning comes from, and how that is said.
REASONING_KINDS = {"recorded": "as recorded", "written": "written afterwards", "none": "none"}


class Split(BaseModel):
    """One split's figures."""

    model_config = ConfigDict(extra="forbid")

    tasks: int = 0
    traces: int = 0
    rows: int = 0
    tokens_unrolled: int = 0
    tokens_trained: int = 0  # those that carry loss


class Kind(BaseModel):
    """One kind of task's share of the training split."""

    model_config = ConfigDict(extra="forbid")

    traces: int = 0
    rows: int = 0


class BuildSummary(BaseModel):
    """build.json: what was kept, what was not and why, and all that the rendering hangs on."""

    model_config = ConfigDict(extra="forbid")

    project: str
    version: str  # Tutelage's
    store: str = ""  # of a published dataset nobody needs to know
    runs: list[str]
    seed: int
    licence: str | None
    unroll: Literal["none", "turns", "steps"] = "steps"  # what a row is; the figures count a row a step all the same
    # What the rendering hangs on.
    student: str
    engine: str
    template: str
    template_sha256: str
    tokenizer_sha256: str
    serving: Serving  # what the agent that serves the student has to do, too
    day: date | None = None  # what a template that names the date took for today, in every row
    max_length: int
    over_length: str  # what became of longer rows: drop, refuse or cut_results
    reasoning: str  # keep, off, mask or backfill
    min_reward: float
    # What came of it.
    traces: int = 0  # looked at
    traces_kept: int = 0
    traces_left_out: dict[str, int] = {}  # reason -> traces
    rows_left_out: dict[str, int] = {}  # reason -> rows
    left_out_first: dict[str, list[str]] = {}  # reason -> the first few: a trace's id, and the step of a row
    duplicates_removed: int = 0  # traces, counted among those left out
    evaluation_tasks: int | None = None  # held-out tasks that the traces were compared with; None: there was no file
    evaluation_refused: int = 0  # traces of evaluation tasks, counted among those left out
    rows_cut: int = 0  # whose old tool results were cut
    results_cut: int = 0  # in all these rows together
    results_recut: int = 0  # of the kept traces: cut otherwise than they were when they were collected
    reasoning_rows: dict[str, int] = {}  # a key of REASONING_KINDS -> rows, both splits
    reasoning_written: int = 0  # traces of which the teacher wrote a revision with the reasoning that was missing
    train: Split = Split()
    validation: Split = Split()
    tokens_unrolled: int = 0  # of the training split
    tokens_tree: int = 0  # of one prefix tree over all its rows
    pairs: dict[SplitName, int] = {}  # for preference training, by split
    pairs_left_out: dict[str, int] = {}  # reason -> pairs
    pair_trace_ids: list[str] = []  # the traces of the pairs, both splits; worse ones have no rows
    tools: dict[str, int] = {}  # calls taught, by tool
    kinds: dict[str, Kind] = {}
    lengths: dict[str, int] = {}  # rows by their length in tokens, both splits: "<= 512" counts 257 to 512
    longest: int = 0
    # The tasks of the kept traces, both splits: an evaluation counts those that it shares with them.
    task_ids: list[str] = []
    task_contents: list[str] = []  # trace.task_content of each
    trace_ids: list[str] = []  # of the kept traces, both splits: what an adapter was trained on
    erased: int = 0  # traces whose rows were erased since; all figures but those of the splits speak of before

    def sentence(self) -> str:
        train, validation = self.train, self.validation
        text = (
            f"Kept {self.traces_kept} of {self.traces} traces: {train.rows} rows for training, {validation.rows} for "
            f"validation. {self.tokens_unrolled:,} tokens unrolled, {self.tokens_tree:,} in one tree."
        )
        text += f" {self.about_evaluation()}"
        for what, left_out in (("Traces", self.traces_left_out), ("Rows", self.rows_left_out)):
            if left_out:
                text += f" {what} left out: {reasons(left_out)}."
        if self.rows_cut:
            text += f" Old tool results were cut in {self.rows_cut} rows."
        if self.erased:
            text += f" The rows of {self.erased} traces were erased since."
        if self.results_recut:
            text += f" {self.results_recut} tool results were cut otherwise than when they were collected."
        return " ".join([text, *filter(None, [self.about_pairs(), self.about_reasoning(), self.about_written()])])

    def about_evaluation(self) -> str:
        if self.evaluation_tasks is None:
            return "No held-out tasks were there to check against: [tasks] evaluate names a file that was not found."
        return f"Checked against {self.evaluation_tasks} held-out tasks."

    def about_pairs(self) -> str:
        """ "" where no task has both a better and a worse trace."""
        if not self.pairs and not self.pairs_left_out:
            return ""
        left_out = f", left out: {reasons(self.pairs_left_out)}" if self.pairs_left_out else ""
        train, validation = (self.pairs.get(name, 0) for name in SPLITS)
        return f"Pairs for dpo: {train}, {validation} for validation{left_out}."

    def about_written(self) -> str:
        if not self.reasoning_written:
            return ""
        return (
            f"Missing reasoning was written for {self.reasoning_written} traces, which are left out until you have "
            "read and approved them (tutelage traces list --verdict undecided)."
        )

    def about_reasoning(self) -> str:
        """A mixture is never silent; "" where there is nothing to say."""
        rows, lacking = sum(self.reasoning_rows.values()), self.reasoning_rows.get("none", 0)
        if not self.serving.thinking:
            return f"Thinking is off: the reasoning of {rows - lacking} rows was left out." if rows > lacking else ""
        if len(self.reasoning_rows) < 2:
            return ""
        shares = (
            f"{count} ({count / rows:.0%}) {REASONING_KINDS[kind]}" for kind, count in self.reasoning_rows.items()
        )
        text = f"Reasoning of the rows: {', '.join(shares)}."
        if not lacking:
            return text
        if self.reasoning == "mask":
            return f"{text} An empty think block carries no loss."
        return f"{text} Choose with --reasoning off, mask or backfill what becomes of those without."


def reasons(counts: dict[str, int]) -> str:
    """ "3 rejected, 2 not finished": the commonest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered)
