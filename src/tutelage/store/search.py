"""Full-text search over the messages and reasoning of each trace's latest revision.

It is written when a trace is finished or edited, so that recording a step costs nothing more. SQLite has an index of
words (FTS5), one document a revision. For other databases the words stand in a text that LIKE looks through; with
PostgreSQL's pg_trgm, where that may be used, by an index. Both take the same words for the same: letters and digits,
whatever their case and accents.
"""

import re
import unicodedata
from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    column,
    delete,
    false,
    insert,
    literal_column,
    select,
    table,
    text,
)

from tutelage.store import schema
from tutelage.trace import Message

REVISION = 2**40  # the document of a summary's revision is number + revision * REVISION
MATCHING = table("trace_text", column("rowid"), column("trace_text"))


def add_document(connection: Connection, number: int, revision: int, messages: Sequence[Message]) -> None:
    """Make the text of a trace's new revision findable; once a revision."""
    if connection.dialect.name == "sqlite":
        values = {"id": number + revision * REVISION, "text": searchable_text(messages)}
        connection.execute(text("INSERT INTO trace_text (rowid, text) VALUES (:id, :text)"), values)
        return
    found = schema.trace_words
    connection.execute(delete(found).where(found.c.number == number))
    words = f" {' '.join(split_words(searchable_text(messages)))} "
    connection.execute(insert(found).values(number=number, words=words))


def searchable_text(messages: Sequence[Message]) -> str:
    """Contents, reasoning and calls; not the system prompt, which all traces of a run share."""
    parts: list[str] = []
    for message in messages:
        if message.role == "system":
            continue
        parts += [message.reasoning_content or "", message.content or ""]
        parts += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(part for part in parts if part)


def matches(dialect: str, words: str) -> ColumnElement[bool]:
    """Whether a summary's trace holds all of `words`, in any order; "several words" in quotes stand together."""
    if dialect == "sqlite":
        document = schema.summaries.c.number + schema.summaries.c.revision * literal_column(str(REVISION))
        return document.in_(select(MATCHING.c.rowid).where(MATCHING.c.trace_text.op("MATCH")(_expression(words))))
    found = schema.trace_words
    wanted = [" ".join(split_words(phrase)) for phrase in phrases(words)]
    held = [found.c.words.contains(f" {phrase}") for phrase in wanted if phrase]
    return schema.summaries.c.number.in_(select(found.c.number).where(and_(*held))) if held else false()


def split_words(text: str) -> list[str]:
    """As FTS5 does: runs of letters and digits, without accents, in lower case."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return re.findall(r"[^\W_]+", plain.replace("\0", " ").lower())


def phrases(words: str) -> list[str]:
    """Quoted phrases and single words of what a person typed."""
    found = [quoted or single for quoted, single in re.findall(r'"([^"]*)"|([^\s"]+)', words.replace("\0", " "))]
    return [phrase.strip() for phrase in found if phrase.strip()]


def _expression(words: str) -> str:
    """For FTS5, whose own syntax nobody should have to know: each phrase quoted, its last word may go on."""
    return " ".join(f'"{phrase}"*' for phrase in phrases(words)) or '""'
