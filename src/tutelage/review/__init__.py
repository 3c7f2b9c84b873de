"""Reading, fixing and judging traces."""

from tutelage.review.edit import read_edited, to_editable

__all__ = ["read_edited", "to_editable"]
