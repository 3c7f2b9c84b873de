"""New project folders: `blank` to fill in, `shop` with the example's tasks."""

from tutelage.scaffold.scaffold import make_project

__all__ = ["make_project"]
