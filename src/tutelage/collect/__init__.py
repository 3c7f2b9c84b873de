"""Traces into the store: run the teacher on the training tasks, or import what another program recorded."""

from tutelage.collect.collect import CollectSummary, collect
from tutelage.collect.importer import ImportSummary, import_traces

__all__ = ["CollectSummary", "ImportSummary", "collect", "import_traces"]
