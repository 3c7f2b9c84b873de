"""Before and after: the same held-out tasks for the untouched and the trained student, and the report on them.

`evaluate` runs the rollouts and writes evaluation.json, `make_report` makes the page from it.
"""

from tutelage.evaluate.compare import evaluate
from tutelage.evaluate.evaluation import Evaluation
from tutelage.evaluate.report import make_report

__all__ = ["Evaluation", "evaluate", "make_report"]
