"""The formats that `tutelage import` reads, a module each.

A format tells its files by their first JSON value, and gives for each record in a file where it stands and a function
that reads it. What a record holds is checked in `common`.
"""

from tutelage.collect.formats.common import NOT_AS_WRITTEN, Entry, Format
from tutelage.collect.formats.detect import FORMATS, choose, files_of, local

__all__ = ["FORMATS", "NOT_AS_WRITTEN", "Entry", "Format", "choose", "files_of", "local"]
