"""What a task's world holds, and when a rollout has solved its task."""

from tutelage.trace import Task, Trace
from tutelage.world import Reward, World


def prepare(task: Task, world: World) -> None:
    """Fill the world: a folder that stdio servers start in and find in TUTELAGE_WORLD."""
    files = task.setup.get("files")
    for name, text in files.items() if isinstance(files, dict) else ():
        (world.folder / name).write_text(str(text))


def verify(trace: Trace, world: World) -> Reward:
    """Judge the answer and what was left in the world; the reason is shown in the report."""
    expected = str(trace.task.setup["answer"])
    if expected.lower() in trace.answer().lower():
        return Reward(1.0, f'the answer holds "{expected}"')
    return Reward(0.0, f'the answer does not hold "{expected}"', "wrong answer")
