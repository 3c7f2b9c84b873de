"""Where traces are kept: SQLite by default, any database of SQLAlchemy's by URL. Nothing recorded is ever lost."""

from tutelage.store.recording import AlreadyRecorded, Recording
from tutelage.store.store import TraceStore, TraceSummary

__all__ = ["AlreadyRecorded", "Recording", "TraceStore", "TraceSummary"]
