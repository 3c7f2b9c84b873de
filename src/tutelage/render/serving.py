"""How a conversation is shown to the student, in its dataset and wherever it is served: serving.json."""

from pathlib import Path

from pydantic import ValidationError

from tutelage.errors import TutelageError
from tutelage.render.fit import CutResults
from tutelage.settings import Settings, ToolResults
from tutelage.trace import Plain

SERVING_FILE = "serving.json"  # in a build's folder, and in the folder of an adapter that was trained on it


class Serving(Plain):
    """What the agent does to a conversation before the student's template sees it."""

    thinking: bool  # whether the template lets the student think
    send_reasoning: bool  # whether reasoning goes back to the student with the history
    tool_results: ToolResults  # how longer ones are cut
    over_length: CutResults | None = None  # None: a conversation that is too long is shown as it is

    @property
    def template_fields(self) -> dict[str, bool]:
        """What each request tells the template, as the rows did: told nothing, some templates choose otherwise."""
        return {"enable_thinking": self.thinking}

    def write(self, folder: Path) -> None:
        (folder / SERVING_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def planned_serving(settings: Settings) -> Serving:
    """What the settings say. Raises TutelageError where they leave a prompt no room."""
    dataset, student, rollout = settings.dataset, settings.student, settings.rollout
    over_length = None
    if dataset.over_length == "cut_results":
        room = dataset.max_length - student.sampling.max_tokens
        if room <= 0:
            raise TutelageError(
                f"[dataset] max_length ({dataset.max_length}) leaves no room for a prompt beside an answer of "
                f"[student.sampling] max_tokens ({student.sampling.max_tokens}). Raise the one or lower the other."
            )
        over_length = CutResults(prompt_tokens=room)
    return Serving(
        thinking=student.thinking and dataset.reasoning != "off",
        send_reasoning=rollout.send_reasoning,
        tool_results=rollout.tool_results,
        over_length=over_length,
    )


def read_serving(folder: Path) -> Serving | None:
    """What the build or the adapter in `folder` was made with; None where it does not say. Raises TutelageError."""
    path = folder / SERVING_FILE
    try:
        return Serving.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError):
        raise TutelageError(f"{path} cannot be read. Build the dataset and train again.") from None
