"""Tutelage teaches a small open model to use your tools.

The stages, in order, each a command and a function; heavy libraries load when one is called:

    collect_traces    run the teacher on the tasks and record every trace   tutelage/collect
    import_traces     take traces that another program recorded             tutelage/collect
    curate_traces     take bad traces out, mask secrets, by declared steps  tutelage/curate
    build_dataset     keep good traces, unroll them, render the rows        tutelage/dataset
    train_student     LoRA adapters, what rows share computed once          tutelage/train
    evaluate_student  before and after on held-out tasks                    tutelage/evaluate
    make_report       one page that shows it                                tutelage/evaluate
    push_dataset, push_model    to the Hugging Face Hub                     tutelage/publish

`tutelage record` (tutelage/record) makes traces of agents that are not ours; what they say is read in tutelage/dialect.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.collect.collect import collect as collect_traces
    from tutelage.collect.importer import import_traces
    from tutelage.curate import curate as curate_traces
    from tutelage.dataset import build as build_dataset
    from tutelage.errors import TutelageError
    from tutelage.evaluate import evaluate as evaluate_student
    from tutelage.evaluate import make_report
    from tutelage.project import Project
    from tutelage.publish import push_dataset, push_model
    from tutelage.scaffold import make_project
    from tutelage.store import TraceStore
    from tutelage.trace import Message, Task, Trace
    from tutelage.train import run_training as train_student
    from tutelage.world import Reward, World

__version__ = "0.1.0"

_WHERE = {
    "collect_traces": ("tutelage.collect", "collect"),
    "import_traces": ("tutelage.collect", "import_traces"),
    "curate_traces": ("tutelage.curate", "curate"),
    "build_dataset": ("tutelage.dataset", "build"),
    "train_student": ("tutelage.train", "run_training"),
    "evaluate_student": ("tutelage.evaluate", "evaluate"),
    "make_report": ("tutelage.evaluate", "make_report"),
    "push_dataset": ("tutelage.publish", "push_dataset"),
    "push_model": ("tutelage.publish", "push_model"),
    "make_project": ("tutelage.scaffold", "make_project"),
    "Project": ("tutelage.project", "Project"),
    "TraceStore": ("tutelage.store", "TraceStore"),
    "TutelageError": ("tutelage.errors", "TutelageError"),
    "Message": ("tutelage.trace", "Message"),
    "Task": ("tutelage.trace", "Task"),
    "Trace": ("tutelage.trace", "Trace"),
    "Reward": ("tutelage.world", "Reward"),
    "World": ("tutelage.world", "World"),
}

__all__ = [
    "Message",
    "Project",
    "Reward",
    "Task",
    "Trace",
    "TraceStore",
    "TutelageError",
    "World",
    "build_dataset",
    "collect_traces",
    "curate_traces",
    "evaluate_student",
    "import_traces",
    "make_project",
    "make_report",
    "push_dataset",
    "push_model",
    "train_student",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)
