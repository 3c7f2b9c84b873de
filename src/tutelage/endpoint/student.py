"""The embedded endpoint for a project's student."""

from pathlib import Path

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.endpoint.served_weights import served_weights
from tutelage.project import Project
from tutelage.render.student import load_template, student_gguf


def student_endpoint(
    project: Project, adapter: Path | None, *, host: str = "127.0.0.1", port: int = 0
) -> EmbeddedEndpoint:
    """Serves the student, with the adapter in the file `adapter` (GGUF). Raises TutelageError where it has no weights.

    A copy of the weights in a faster type is kept in the project's folder "weights".
    """
    student = project.settings.student
    return EmbeddedEndpoint(
        served_weights(student_gguf(student, project.folder), project.path("weights")),
        load_template(student.template, project.folder),
        adapter=adapter,
        context=student.context,
        parallel=student.parallel,
        host=host,
        port=port,
    )
