"""Curation: declared steps over the store's traces. Each takes some out, as verdicts that a person can overrule, or
masks what must not be learnt, as new revisions; nothing is erased.
"""

from tutelage.curate.curation import curate

__all__ = ["curate"]
