"""Full-text search over messages and reasoning.

The table `trace_text` has one document a revision, written when a trace is finished or edited, so that recording a
step costs nothing more. SQLite keeps an index of words of it (FTS5) and no copy of the text; PostgreSQL keeps its
words and looks through them with LIKE.
"""

import re
import unicodedata
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Select, and_, column, literal_column, select, table, text, true

from tutelage.store import schema
from tutelage.trace import Message

REVISION = 2**40  # the document of a summary's revision is number + revision * REVISION
MATCHING = table("trace_text", column("rowid"), column("trace_text"), column("text"))


def add_document(connection: Connection, number: int, revision: int, messages: Sequence[Message]) -> None:
    """Make a revision's text findable; once a revision."""
    searchable = searchable_text(messages)
    values = {
        "id": number + revision * REVISION,
        "text": searchable if connection.dialect.name == "sqlite" else f" {words_of(searchable)}",
    }
    connection.execute(text("INSERT INTO trace_text (rowid, text) VALUES (:id, :text)"), values)


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
    """Whether a summary's trace, at its latest revision, holds `words`."""
    document = schema.summaries.c.number + schema.summaries.c.revision * literal_column(str(REVISION))
    return document.in_(documents(dialect, words))


def documents(dialect: str, words: str) -> Select[int]:
    """Those of all revisions that hold all of `words`, in any order; "several words" in quotes stand together."""
    query = select(MATCHING.c.rowid)
    if dialect == "sqlite":
        return query.where(MATCHING.c.trace_text.op("MATCH")(_expression(words)))
    found = (f" {words_of(phrase)}" for phrase in phrases(words))
    conditions = [MATCHING.c.text.contains(phrase, autoescape=True) for phrase in found if phrase.strip()]
    return query.where(and_(true(), *conditions))


def words_of(text: str) -> str:
    """The words that FTS5 sees in a text, without case and accents, a blank between each and the next."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(re.findall(r"[^\W_]+", plain.casefold()))


def phrases(words: str) -> list[str]:
    """Quoted phrases and single words of what a person typed."""
    found = [quoted or single for quoted, single in re.findall(r'"([^"]*)"|([^\s"]+)', words.replace("\0", " "))]
    return [phrase.strip() for phrase in found if phrase.strip()]


def _expression(words: str) -> str:
    """For FTS5, whose own syntax nobody should have to know: each phrase quoted, its last word may go on."""
    return " ".join(f'"{phrase}"*' for phrase in phrases(words)) or '""'
