"""`tutelage quickstart`: the ordinary commands, run in order on the shop, each printed as it runs.

Each command is a process of its own: what it used is given back before the next one starts, and what one of them
left is all that the next one knows. So stopping anywhere and running again goes on where it was.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError

STATE = "quickstart.json"
PARENT_HOLDS_STDIN = "TUTELAGE_PARENT_HOLDS_STDIN"


@dataclass
class Measured:
    """What earlier and present runs took, kept in the project folder."""

    seconds: dict[str, float] = field(default_factory=dict)  # by stage, summed over all runs of the command
    peak_rss_mb: float = 0.0  # the largest sum over the processes of a command

    @classmethod
    def load(cls, folder: Path) -> "Measured":
        path = folder / STATE
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def save(self, folder: Path) -> None:
        temporary = folder / f".{STATE}"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / STATE)


@dataclass(frozen=True)
class Options:
    folder: Path
    seed: int = 0
    train_tasks: int = 192
    evaluate_tasks: int = 60
    teacher_url: str | None = None
    teacher_model: str | None = None


def run_quickstart(options: Options, announce: Callable[[str], None]) -> dict[str, Any]:
    """Run all stages; what `--json` prints. Raises TutelageError where a stage fails, after its own message."""
    _check_same_options(options)
    for stage, arguments in commands(options):
        announce("$ tutelage " + shlex.join(arguments))
        started = time.monotonic()
        code, peak = run_and_watch([sys.executable, "-m", "tutelage", *arguments])
        if options.folder.is_dir():  # also of a stage that failed: its time was spent
            measured = Measured.load(options.folder)
            measured.seconds[stage] = round(measured.seconds.get(stage, 0.0) + time.monotonic() - started, 2)
            measured.peak_rss_mb = max(measured.peak_rss_mb, peak)
            measured.save(options.folder)
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise TutelageError(f"The {stage} stage ended with {code}. Mend what it says above and run it again.")
    return result(options)


def commands(options: Options) -> list[tuple[str, list[str]]]:
    """Each stage and the command line that runs it."""
    project = ["--project", str(options.folder)]
    teacher: list[str] = []
    if options.teacher_url:
        teacher += ["--teacher-url", options.teacher_url]
    if options.teacher_model:
        teacher += ["--teacher-model", options.teacher_model]
    counts = ["--train-tasks", str(options.train_tasks), "--evaluate-tasks", str(options.evaluate_tasks)]
    return [
        ("init", ["init", str(options.folder), "--example", "shop", "--seed", str(options.seed), *counts]),
        ("collect", ["collect", *project, *teacher]),
        ("dataset", ["dataset", "build", *project]),
        ("train", ["train", *project]),
        ("evaluate", ["evaluate", *project, "--with-teacher", *teacher]),
        ("report", ["report", *project]),
    ]


def result(options: Options) -> dict[str, Any]:
    """The figures of a finished quickstart, each read from the file of the stage that measured it."""
    folder = options.folder
    evaluation = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    training = json.loads((folder / "training" / "train.json").read_text())
    measured = Measured.load(folder)
    variants = evaluation["variants"]
    return {
        "tasks": len(evaluation["tasks"]),
        **{name: {"success": variants[name]["success"]} for name in ("before", "after", "teacher")},
        "seconds": {**measured.seconds, "total": round(sum(measured.seconds.values()), 2)},
        "peak_rss_mb": round(measured.peak_rss_mb),
        "tokens_unrolled": training["tokens_unrolled"],
        "tokens_tree": training["tokens_tree"],
        "gflops": training["gflops"],
        "seed": options.seed,
        "report": str(folder / "report.html"),
    }


def _check_same_options(options: Options) -> None:
    """A folder belongs to one seed and size: another would mix two runs' figures."""
    tasks = {"train": options.train_tasks, "evaluate": options.evaluate_tasks}
    if not (options.folder / "tutelage.toml").exists():
        return
    from tutelage.project import Project

    project = Project.open(options.folder)
    there = {"train": len(project.tasks("train")), "evaluate": len(project.tasks("evaluate"))}
    if project.settings.seed != options.seed or there != tasks:
        raise TutelageError(
            f"{options.folder} holds a quickstart with seed {project.settings.seed}, {there['train']} training and "
            f"{there['evaluate']} held-out tasks. Name another --folder, or run it with the same options."
        )


def run_and_watch(command: Sequence[str]) -> tuple[int, float]:
    """Run a command with our terminal; its exit code and the peak resident memory of its processes together, MiB."""
    import psutil

    # The command ends when the pipe to it is closed, so it does not outlive us, whatever ends us.
    environment = {**os.environ, PARENT_HOLDS_STDIN: "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, env=environment)
    peak = 0.0
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.5):
            peak = max(peak, _resident_mb(psutil, process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return process.wait(), peak
    except KeyboardInterrupt:
        return _wait_for_the_end(process), peak
    finally:
        stop.set()
        watcher.join()


def _wait_for_the_end(process: "subprocess.Popen[bytes]") -> int:
    """Ctrl-C reached the command too; let it finish what it is writing."""
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 130


def _resident_mb(psutil: Any, pid: int) -> float:
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return float(total) / 2**20
