"""The store's tables, as migrations make them (migrate.py); the text that is searched stands in search.py.

A message is stored once and linked to the one before it, so an edited history is a branch and not a copy; a step
points at the last message that it saw. JSON is kept as text, as it arrived.
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

metadata = MetaData()

toolsets = Table(
    "toolsets",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the body
    Column("body", Text, nullable=False),  # JSON list of Tool
)

traces = Table(
    "traces",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("run", String, nullable=False),
    Column("task_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("task", Text, nullable=False),  # JSON of Task
    Column("model", String, nullable=False),
    Column("toolset_id", String(64), ForeignKey("toolsets.id"), nullable=False),
    Column("started", String, nullable=False),  # ISO 8601, UTC
    Column("finished", String),
    Column("stop_reason", String),
    Column("reward", Float),
    Column("reward_reason", Text, nullable=False, default=""),
    Column("reward_category", String, nullable=False, default=""),
    Column("metadata", Text, nullable=False, default="{}"),
    # What keeps an attempt from being counted twice, whoever runs it.
    Index(
        "one_finished_trace_an_attempt",
        "run",
        "task_id",
        "attempt",
        unique=True,
        sqlite_where=text("finished IS NOT NULL"),
        postgresql_where=text("finished IS NOT NULL"),
    ),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trace_id", ForeignKey("traces.id"), nullable=False, index=True),
    Column("parent_id", ForeignKey("messages.id")),
    Column("body", Text, nullable=False),  # JSON of Message
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the body
    Column("body", LargeBinary, nullable=False),
)

blob_uses = Table(
    "blob_uses",
    metadata,
    Column("trace_id", ForeignKey("traces.id"), primary_key=True),
    Column("blob_id", ForeignKey("blobs.id"), primary_key=True, index=True),
)

steps = Table(
    "steps",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),  # what the model gave
    Column("trace_id", ForeignKey("traces.id"), nullable=False, index=True),
    Column("seen_id", ForeignKey("messages.id")),  # the last message that it saw
    Column("started", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("finish_reason", String),
)

revisions = Table(
    "revisions",
    metadata,
    Column("trace_id", ForeignKey("traces.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # 0 is the original
    Column("base", Integer),  # the revision that was edited, restored or run again
    Column("head_id", ForeignKey("messages.id"), nullable=False),  # its last message
    Column("author", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", String, nullable=False),
)

# A trace run again from one of its steps: a branch of its messages, which becomes a revision when it ends.
reruns = Table(
    "reruns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trace_id", ForeignKey("traces.id"), nullable=False, index=True),
    Column("base", Integer, nullable=False),  # the revision whose beginning is kept
    Column("kept", Integer, nullable=False),  # messages of it
    Column("head_id", ForeignKey("messages.id")),  # the last message so far
    Column("model", String, nullable=False),
    Column("hint", Text, nullable=False),  # what the model was told and the messages do not hold; "" for nothing
    Column("author", String, nullable=False),
    Column("started", String, nullable=False),
    Column("revision", Integer),  # what became of it; NULL: it runs, or was broken off
    Column("stop_reason", String),
    Column("reward", Float),
    Column("reward_reason", Text, nullable=False, default=""),
    Column("reward_category", String, nullable=False, default=""),
    Column("notes", Text, nullable=False, default="{}"),  # what a trace's metadata keep of a rollout's end
)

# Assistant messages that an edit of what precedes them made copies of.
stale_steps = Table(
    "stale_steps",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),
    Column("trace_id", ForeignKey("traces.id"), nullable=False, index=True),
    Column("confirmed_by", String),  # NULL: nobody has said that it still holds
    Column("confirmed", String),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Integer, primary_key=True),  # the newest one of a revision counts
    Column("trace_id", ForeignKey("traces.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", String, nullable=False),
)

# One narrow row a trace, which lists are filtered, sorted and counted by; kept by summaries.py with every write and
# made anew from the other tables where it is missing.
summaries = Table(
    "summaries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("trace_id", ForeignKey("traces.id"), nullable=False, unique=True),
    Column("run", String, nullable=False),
    Column("task_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("model", String, nullable=False),
    Column("started", String, nullable=False),
    Column("stop_reason", String),  # NULL: not finished; then steps, errors and tools are not counted yet
    Column("reward", Float),
    Column("revision", Integer, nullable=False),  # the latest, which all below speak of
    Column("verdict", String, nullable=False),
    Column("steps", Integer, nullable=False),  # assistant messages
    Column("errors", Integer, nullable=False),  # tool results that are errors
    Column("tools", Text, nullable=False),  # names of tools called, as names.py writes them
    Column("tags", Text, nullable=False),
    Column("changed", Integer, nullable=False),  # grows with each write, so that a reader asks only for what is new
    Index("summaries_started", "started"),
    Index("summaries_task", "task_id", "run", "reward"),
    Index("summaries_changed", "changed"),
)

tags = Table(
    "tags",
    metadata,
    Column("trace_id", ForeignKey("traces.id"), primary_key=True),
    Column("tag", String, primary_key=True),
    Column("reviewer", String, nullable=False),
    Column("created", String, nullable=False),
)

# Two traces of one task, the better one chosen: what DPO learns from.
preferences = Table(
    "preferences",
    metadata,
    Column("id", Integer, primary_key=True),  # the newest one of a pair counts
    Column("task_id", String, nullable=False, index=True),
    Column("chosen_id", ForeignKey("traces.id"), nullable=False),
    Column("chosen_revision", Integer, nullable=False),
    Column("rejected_id", ForeignKey("traces.id"), nullable=False),
    Column("rejected_revision", Integer, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", String, nullable=False),
)

# What judging models said; once a revision, model and prompt.
scores = Table(
    "scores",
    metadata,
    Column("trace_id", ForeignKey("traces.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("model", String, primary_key=True),
    Column("prompt_sha256", String(64), primary_key=True),
    Column("score", Float, nullable=False),  # in [0, 1]
    Column("reason", Text, nullable=False),
    Column("created", String, nullable=False),
)
