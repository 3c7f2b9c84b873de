"""The steps of curation: [[curate]] in tutelage.toml, run in the order in which they stand there."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator

from tutelage.errors import TutelageError
from tutelage.project import SETTINGS_FILE, Project, validate
from tutelage.settings import Section
from tutelage.trace import StopReason


class RewardStep(Section):
    """Takes out traces with too little reward. One without a reward stays: a verdict decides on it."""

    step: Literal["reward"]
    min_reward: float = Field(1.0, ge=0, le=1, description="a trace with less is taken out")


class StopReasonStep(Section):
    """Takes out traces that ended otherwise than they should."""

    step: Literal["stop_reason"]
    keep: tuple[StopReason, ...] = Field((StopReason.ANSWER,), description="endings that are good")


class LengthStep(Section):
    """Takes out traces that are too short or too long. A limit that is not given is none."""

    step: Literal["length"]
    min_steps: int | None = Field(None, ge=0, description="model calls at least")
    max_steps: int | None = Field(None, gt=0, description="model calls at most")
    max_tokens: int | None = Field(
        None, gt=0, description="prompt and completion of the last step at most, where the endpoint counted them"
    )
    max_characters: int | None = Field(None, gt=0, description="of all messages together, reasoning and calls included")


class LoopsStep(Section):
    """Takes out traces that go round in circles."""

    step: Literal["loops"]
    same_result: int = Field(2, gt=0, description="the same call with the same result may come so often")
    same_call: int = Field(8, gt=0, description="the same call may come so often, whatever its result")
    same_line: int = Field(8, gt=0, description="the same line may stand so often in what the model wrote at once")


class ToolErrorsStep(Section):
    """Takes out traces in which too many tool calls failed."""

    step: Literal["tool_errors"]
    max_rate: float = Field(0.5, ge=0, le=1, description="failed results may be so great a share of all")


class FormatStep(Section):
    """Takes out traces that teach a broken format: calls of tools that were not offered or with arguments that are no
    JSON object, calls without a result and results without a call, empty messages, markup that was not parsed.
    """

    step: Literal["format"]
    arguments: bool = Field(True, description="arguments have to fit the tool's schema too")


class DuplicatesStep(Section):
    """Of traces that are nearly the same in what was asked, called, returned and answered, leaves one: the one with an
    approval, more reward, a better score, fewer errors. MinHash over groups of three words.
    """

    step: Literal["duplicates"]
    threshold: float = Field(0.9, gt=0, le=1, description="Jaccard similarity from which two are the same")


class MaskStep(Section):
    """Puts <KIND_1> in the place of secrets and personal data, the same for the same value throughout a trace, as a new
    revision. A secret in a tool's definition, which no revision can mask, takes the trace out.
    """

    step: Literal["mask"]
    secrets: bool = Field(True, description="keys, tokens, passwords, and what the project takes from the environment")
    personal_data: bool = Field(True, description="e-mail addresses, phone and card numbers, IBANs")
    region: str | None = Field(
        None, description='of phone numbers without a country code, as "DE" or "US"; none: only +49 30 … is one'
    )
    approve: bool = Field(
        True, description="the masked revision counts as its original did; false: a person approves each first"
    )


class JudgeStep(Section):
    """A model scores each trace by a rubric, from 0 to 1, once a revision, model and prompt; too low a score takes it
    out. Traces that a person judged are scored too: the report says how far the two agree.
    """

    step: Literal["judge"]
    rubric: Path = Field(description="a text file that says what is good and what is not")
    url: str | None = Field(None, description="an OpenAI-style endpoint, up to and including /v1; none: the teacher's")
    model: str | None = Field(None, description="the model's name there; none: the teacher")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key, with `url`")
    min_score: float = Field(0.5, ge=0, le=1, description="a trace with less is taken out")
    concurrency: int = Field(8, gt=0, description="traces that are judged at once")
    max_tokens: int = Field(1024, gt=0, description="of the judge's answer, its reasoning included")
    request_seconds: float = Field(120, gt=0, description="one answer may take so long")
    result_characters: int = Field(4000, gt=0, description="the judge sees so much of each tool result")

    @model_validator(mode="after")
    def _url_with_model(self) -> "JudgeStep":
        if (self.url is None) != (self.model is None):
            raise ValueError("url and model are given together, or neither")
        return self


class BestStep(Section):
    """Of each task's traces, leaves the best: an approval, more reward, a better score, fewer errors, fewer steps."""

    step: Literal["best"]
    count: int = Field(1, gt=0, description="traces of a task that stay")


class BalanceStep(Section):
    """Takes traces out of what there is most of. By tool, a trace stays while one of its tools has too few."""

    step: Literal["balance"]
    by: Literal["kind", "tool"] = Field("kind", description="what is to be balanced")
    most: int | None = Field(None, gt=0, description="traces of a kind or tool at most")
    ratio: float | None = Field(None, ge=1, description="or so many times as many as the rarest kind or tool has")

    @model_validator(mode="after")
    def _one_limit(self) -> "BalanceStep":
        if (self.most is None) == (self.ratio is None):
            raise ValueError("balance needs either most or ratio")
        return self


Step = (
    RewardStep
    | StopReasonStep
    | LengthStep
    | LoopsStep
    | ToolErrorsStep
    | FormatStep
    | DuplicatesStep
    | MaskStep
    | JudgeStep
    | BestStep
    | BalanceStep
)
STEPS: dict[str, type[Step]] = {get_args(kind.model_fields["step"].annotation)[0]: kind for kind in get_args(Step)}


def read_steps(project: Project) -> list[Step]:
    """The project's steps. Raises TutelageError where there is none, or one is wrong."""
    file = project.path(SETTINGS_FILE)
    if not project.settings.curate:
        raise TutelageError(
            f'{file} declares no step of curation. Add some, for example [[curate]] step = "mask"; '
            f"there are: {', '.join(STEPS)}."
        )
    steps: list[Step] = []
    for number, data in enumerate(project.settings.curate, 1):
        where = f"{file}: curate, step {number}"
        kind = STEPS.get(str(data.get("step")))
        if kind is None:
            raise TutelageError(f'{where}: "step" has to be one of {", ".join(STEPS)}.')
        steps.append(validate(kind, data, where))
    return steps
