"""Where traces are kept: SQLite by default, PostgreSQL by URL. Nothing recorded is ever lost."""

from tutelage.store.listing import Selection, Sort
from tutelage.store.recording import AlreadyRecorded, Recording
from tutelage.store.reruns import RerunRecording, UnfinishedRerun
from tutelage.store.reviews import Judgement, Preference, Revision, VerdictRecord
from tutelage.store.scores import Score
from tutelage.store.store import EditConflict, TraceStore
from tutelage.store.summaries import TraceSummary

__all__ = [
    "AlreadyRecorded",
    "EditConflict",
    "Judgement",
    "Preference",
    "Recording",
    "RerunRecording",
    "Revision",
    "Score",
    "Selection",
    "Sort",
    "TraceStore",
    "TraceSummary",
    "UnfinishedRerun",
    "VerdictRecord",
]
