"""How the tests curate a store."""

from collections.abc import Callable

from tutelage.curate.report import CurationReport

Curate = Callable[..., CurationReport]  # of steps as tutelage.toml has them
