"""Tutelage teaches a small open model to use your tools.

The stages, in order: collect (run a strong model on your tasks, record its traces), dataset (unroll them into rows),
train (LoRA on the rows), evaluate (before and after, on held-out tasks), serve and publish.
"""

__version__ = "0.1.0"
