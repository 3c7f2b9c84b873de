"""What may stand in tutelage.toml, section by section, and in an entry of mcp.json."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tasks(Section):
    train: Path = Field(Path("tasks/train.jsonl"), description="tasks whose traces are collected for training")
    evaluate: Path = Field(Path("tasks/evaluate.jsonl"), description="held-out tasks, never trained on")
    prepare: str | None = Field(None, description='"module:function" that fills a task\'s world')
    verifier: str | None = Field(None, description='"module:function" that judges a finished rollout')


class Service(Section):
    """A process of the user's that rollouts need: started before them, stopped after them."""

    command: tuple[str, ...] = Field(min_length=1, description="program and arguments")
    ready: str | None = Field(None, description="a URL that answers once the service is ready")
    env: dict[str, str] = Field({}, description="more environment variables")
    start_seconds: float = Field(30, gt=0, description="how long it may take to get ready")


class Sampling(Section):
    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest token")
    top_p: float | None = Field(None, gt=0, le=1, description="sample from so much of the probability")
    max_tokens: int = Field(1024, gt=0, description="tokens of one assistant message")
    extra: dict[str, JsonValue] = Field({}, description="more fields of the request body, as the server names them")


class Teacher(Section):
    url: str = Field(description="an OpenAI-style endpoint, up to and including /v1")
    model: str = Field(description="the model's name there")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key, if one is needed")
    prompt_price: float | None = Field(None, ge=0, description="of a million prompt tokens, in any currency")
    completion_price: float | None = Field(None, ge=0, description="of a million completion tokens, in the same one")
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=4096)


class Student(Section):
    model: str = Field(
        "smollm2-135m-instruct",
        description="the embedded model; or a local folder or GGUF file, with `url` of the endpoint that serves it",
    )
    template: str = Field("qwen3", description="a shipped chat template or a file; for the embedded model")
    thinking: bool = Field(True, description="whether the template lets it think")
    context: int = Field(2048, gt=0, description="tokens of prompt and completion together, one rollout")
    parallel: int = Field(8, gt=0, description="requests that the embedded endpoint works on at once")
    url: str | None = Field(None, description="an endpoint that serves the student; none: the embedded one")
    trained_url: str | None = Field(
        None, description="an endpoint that serves the trained student, if not `url` too: after full fine-tuning"
    )
    sampling: Sampling = Sampling(temperature=0.0, max_tokens=160)


class ToolResults(Section):
    """How much of a tool's result a model is shown; the whole stays in the store.

    A trace says how it was cut. `dataset build` cuts traces anew by what stands here, for which no rollout is needed;
    whatever serves a student cuts as its dataset did.
    """

    cut: Literal["head", "head_and_tail", "nodes"] = Field(
        "head",
        description="show a longer result's beginning; or its beginning and end; or whole nodes of an accessibility "
        "tree or of JSON (of other text, beginning and end)",
    )
    limit: int = Field(20_000, gt=0, description="longer results are cut, with a visible notice")
    unit: Literal["characters", "tokens"] = Field("characters", description="of the limit; tokens are the student's")


class RolloutLimits(Section):
    """When a rollout ends, and what it shows the model."""

    max_steps: int = Field(12, gt=0, description="model calls, all turns together")
    max_total_tokens: int = Field(32_000, gt=0, description="prompt of the last step and completions together")
    max_seconds: float = Field(300, gt=0, description="the whole rollout")
    tool_seconds: float = Field(60, gt=0, description="one tool call")
    request_seconds: float = Field(120, gt=0, description="one model call")
    repeated_failures: int = Field(3, gt=1, description="the same failing call this often ends the rollout")
    max_tools: int = Field(50, gt=0, description="more tools than this are refused; more than 25 are warned of")
    send_reasoning: bool = Field(True, description="reasoning goes back to the model within its turn")
    tool_results: ToolResults = ToolResults()


READ_ONLY, DESTRUCTIVE = "@read-only", "@destructive"  # patterns that match a tool's annotations


class ToolRules(Section):
    """The MCP server NAME: which of its tools are offered and may be called, and how rollouts come by it.

    A pattern is a tool's name with `*` and `?`, or `@read-only` or `@destructive`: what the server says of its tool. As
    the protocol has it, a tool that says nothing is destructive.
    What must not be called is not offered. `tutelage tools` shows the outcome.
    """

    share: bool = Field(
        False, description="one server for all rollouts at once: faster, for one that keeps nothing and knows no world"
    )
    mode: Literal["live", "record", "replay"] = Field(
        "live",
        description="for one that cannot be had fresh: record its results in recordings/NAME.jsonl, then answer from "
        "there without it; a call that was never recorded ends the rollout",
    )
    reset_command: tuple[str, ...] = Field(
        (), description="program and arguments that put it back before each rollout, which then has it alone"
    )
    reset_tool: str | None = Field(None, description="or a tool of its own that does, called without arguments")
    include: tuple[str, ...] = Field(("*",), description="tools to offer")
    exclude: tuple[str, ...] = Field((), description="of those, tools to leave out")
    allow: tuple[str, ...] = Field(("*",), description="tools that may be called")
    student: tuple[str, ...] | None = Field(
        None, description="tools that the student may call in `evaluate`, trained or not; none: those of `allow`"
    )
    ask: tuple[str, ...] = Field((), description="tools that only a person may allow, each call: in `chat` and re-runs")
    deny: tuple[str, ...] = Field((), description="tools that nobody may call, whatever the others say")

    @field_validator("include", "exclude", "allow", "student", "ask", "deny")
    @classmethod
    def _known(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in patterns or ():
            if pattern.startswith("@") and pattern not in (READ_ONLY, DESTRUCTIVE):
                raise ValueError(f'there is no pattern "{pattern}"; write {READ_ONLY} or {DESTRUCTIVE}')
        return patterns

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.share and (self.reset_command or self.reset_tool):
            raise ValueError("a server that rollouts share cannot be reset for each; leave out share or the reset")
        return self


class Collect(Section):
    attempts: int = Field(1, gt=0, description="rollouts a task")
    concurrency: int = Field(16, gt=0, description="rollouts at once")
    max_tokens: int | None = Field(
        None, gt=0, description="tokens of a run, prompts and completions together, however often it is taken up again"
    )
    max_cost: float | None = Field(None, gt=0, description="the same in money, by the prices of [teacher]")
    max_minutes: float | None = Field(None, gt=0, description="minutes after which one `collect` begins no rollout")
    pauses: int = Field(
        6, ge=0, description="how often a run waits for an endpoint that was there and is down; then it stops"
    )
    pause_seconds: float = Field(30, gt=0, description="the first of these waits; each is twice as long as the last")


class Dataset(Section):
    min_reward: float = Field(1.0, ge=0, le=1, description="traces below it are left out, unless approved")
    validation: float = Field(0.04, ge=0, lt=1, description="share of the tasks kept for the evaluation loss")
    max_length: int = Field(2048, gt=0, description="tokens of a row")
    over_length: Literal["drop", "refuse", "cut_results"] = Field(
        "drop",
        description="longer rows are left out and counted; or no dataset is built; or the oldest tool results of a "
        "prompt are cut until `max_length` leaves room for an answer, in the dataset and by the agent that serves",
    )
    reasoning: Literal["keep", "off", "mask", "backfill"] = Field(
        "keep",
        description="as recorded; or rows and student without any; or the template's empty think block of messages "
        "without reasoning carries no loss; or the teacher writes what is missing, for review",
    )
    licence: str | None = Field(
        None, description="of a published dataset, as the Hub names it: apache-2.0, cc-by-4.0, …"
    )


class Settings(Section):
    """tutelage.toml."""

    name: str = Field("project", description="stands in reports and cards")
    seed: int = Field(0, description="of the split, the training order and the adapters' start")
    store: str = Field("traces.db", description="a file, or an SQLAlchemy URL of SQLite or PostgreSQL")
    mcp: Path = Field(Path("mcp.json"), description="the MCP servers, in the format of other MCP clients")
    system_prompt: str | None = Field(None, description="the first message of each rollout")
    system_prompt_file: Path | None = Field(None, description="a file that holds it instead")
    tasks: Tasks = Tasks()
    services: dict[str, Service] = {}
    servers: dict[str, ToolRules] = {}
    teacher: Teacher | None = None
    student: Student = Student()
    rollout: RolloutLimits = RolloutLimits()
    collect: Collect = Collect()
    dataset: Dataset = Dataset()
    curate: tuple[dict[str, JsonValue], ...] = Field((), description="see docs/curate.md; checked by curate/config.py")
    train: dict[str, JsonValue] = Field({}, description="see docs/settings.md; checked by train/config.py")


class OAuthClient(Section):
    """`oauth` of a server in mcp.json: needed where the server registers no clients by itself."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, validate_by_name=True)

    client_id: str | None = None
    client_secret: str | None = None
    callback_port: int | None = None  # where the server knows the client with a fixed redirect
    client_metadata_url: str | None = None  # of a page that describes the client, as newer servers take it
    grant: Literal["authorization_code", "client_credentials"] = "authorization_code"  # the latter needs no person
    issuer: str | None = None  # with client_credentials: the authorization server that may be shown the secret


class Reset(Section):
    """How a server is put back before a rollout."""

    command: tuple[str, ...] = ()
    tool: str | None = None
    lock: Path  # held by the rollout that has the server; in the project's folder, where the command runs


class McpServer(Section):
    """One entry of mcp.json's `mcpServers`, as other MCP clients write it, and what tutelage.toml says of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["stdio", "http", "streamable-http", "streamableHttp"] | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    oauth: OAuthClient = OAuthClient()
    # Of tutelage.toml:
    mode: Literal["live", "record", "replay"] = "live"
    recording: Path | None = None
    reset: Reset | None = None
