"""Find a user's Python function by name."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tutelage.errors import TutelageError

_loaded: dict[Path, ModuleType] = {}  # a file is run once, however many functions are taken from it


def load_function(name: str, folder: Path) -> Callable[..., Any]:
    """The function that `name` means: "package.module:function", or "file.py:function" relative to `folder`.

    Raises TutelageError where the module, the file or the function is not there.
    """
    module_name, separator, function_name = name.rpartition(":")
    if not separator:
        raise TutelageError(f'"{name}" names no function. Write "package.module:function" or "file.py:function".')
    try:
        if module_name.endswith(".py"):
            path = folder / module_name
            module = _load_file(path.resolve())
        else:
            module = importlib.import_module(module_name)
        return getattr(module, function_name)  # type: ignore[no-any-return]
    except (Exception, SystemExit) as error:  # whatever a user's file raises while it is loaded
        why = f"{type(error).__name__}: {error}"
        raise TutelageError(f'"{name}" could not be loaded: {why}. Mend it or the name in tutelage.toml.') from error


def _load_file(path: Path) -> ModuleType:
    if path not in _loaded:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        _loaded[path] = module
    return _loaded[path]
