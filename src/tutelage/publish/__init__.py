"""The trained model and its dataset, for others: merged weights, and the Hugging Face Hub."""

from tutelage.publish.hub import push_dataset, push_model
from tutelage.publish.merge import merge_adapter

__all__ = ["merge_adapter", "push_dataset", "push_model"]
