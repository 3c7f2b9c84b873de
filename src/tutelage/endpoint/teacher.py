"""The teacher's endpoint, once the ports of the project's services are known."""

import os
from collections.abc import Callable, Mapping

from tutelage.endpoint.client import ChatEndpoint
from tutelage.endpoint.services import services_named_in
from tutelage.project import Project, expand
from tutelage.settings import Teacher

Connect = Callable[[Mapping[str, str]], ChatEndpoint]  # from what `start_services` gave


def connect_teacher(project: Project, teacher: Teacher) -> Connect:
    """How to reach `teacher`, which is the project's or stands in for it."""

    def connect(values: Mapping[str, str]) -> ChatEndpoint:
        return ChatEndpoint(
            expand(teacher.url, values, "tutelage.toml: teacher: url"),
            teacher.model,
            os.environ.get(teacher.api_key_env),
            teacher.sampling,
            project.settings.rollout.request_seconds,
        )

    return connect


def services_not_needed(project: Project, teacher_url: str | None) -> set[str]:
    """The services of the project's own teacher, where another URL stands in for it."""
    settings = project.settings.teacher
    return services_named_in(settings.url, project) if teacher_url is not None and settings else set()
