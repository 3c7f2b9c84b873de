"""Run the teacher on the training tasks and record every trace."""

from tutelage.collect.collect import CollectSummary, collect

__all__ = ["CollectSummary", "collect"]
