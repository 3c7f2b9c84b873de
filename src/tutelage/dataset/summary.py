"""What a build says of itself: build.json."""

from pydantic import BaseModel, ConfigDict


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
    store: str
    runs: list[str]
    seed: int
    # What the rendering hangs on.
    student: str
    engine: str
    template: str
    template_sha256: str
    thinking: bool
    send_reasoning: bool
    tool_result_characters: int
    max_length: int
    min_reward: float
    # What came of it.
    traces: int = 0  # looked at
    traces_kept: int = 0
    traces_left_out: dict[str, int] = {}  # reason -> traces
    rows_left_out: dict[str, int] = {}  # reason -> rows
    train: Split = Split()
    validation: Split = Split()
    tokens_unrolled: int = 0  # of the training split
    tokens_tree: int = 0  # of one prefix tree over all its rows
    tools: dict[str, int] = {}  # calls taught, by tool
    kinds: dict[str, Kind] = {}
    lengths: dict[str, int] = {}  # rows by their length in tokens, both splits: "<= 512" counts 257 to 512
    longest: int = 0
    # The tasks of the kept traces, both splits: an evaluation counts those that it shares with them.
    task_ids: list[str] = []
    task_contents: list[str] = []  # trace.task_content of each

    def sentence(self) -> str:
        train, validation = self.train, self.validation
        text = (
            f"Kept {self.traces_kept} of {self.traces} traces: {train.rows} rows for training, {validation.rows} for "
            f"validation. {self.tokens_unrolled:,} tokens unrolled, {self.tokens_tree:,} in one tree."
        )
        for what, left_out in (("Traces", self.traces_left_out), ("Rows", self.rows_left_out)):
            if left_out:
                text += f" {what} left out: {reasons(left_out)}."
        return text


def reasons(counts: dict[str, int]) -> str:
    """ "3 rejected, 2 not finished": the commonest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered)
