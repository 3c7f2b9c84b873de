"""The embedded endpoint for a project's student."""

from pathlib import Path

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.endpoint.served_weights import served_weights
from tutelage.project import Project
from tutelage.render.student import load_template, student_gguf
from tutelage.render.trained import GGUF


def student_endpoint(
    project: Project, trained: Path | None, *, host: str = "127.0.0.1", port: int = 0
) -> EmbeddedEndpoint:
    """Serves the student, with the adapter in the file `trained` (GGUF), or the whole model in it in its place.

    A copy of the weights in a faster type is kept in the project's folder "weights". Raises TutelageError where the
    student has no weights.
    """
    student = project.settings.student
    whole = trained if trained and trained.name == GGUF else None
    return EmbeddedEndpoint(
        whole or served_weights(student_gguf(student, project.folder), project.path("weights")),
        load_template(student.template, project.folder),
        adapter=None if whole else trained,
        context=student.context,
        parallel=student.parallel,
        host=host,
        port=port,
    )
