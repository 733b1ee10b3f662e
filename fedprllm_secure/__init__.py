"""Federated pruning of large language models across parties who may not show each other their text.

>>> from fedprllm_secure import Method, Sparsity
>>> Method(sparsity=Sparsity.parse("2:4")).group
'layer'
"""

from fedprllm_secure.data import (
    Partition,
    Windows,
    cut_evaluation,
    cut_windows,
    read_documents,
    read_windows,
    split_documents,
)
from fedprllm_secure.errors import InputError
from fedprllm_secure.evaluation import Perplexity, perplexities
from fedprllm_secure.federation import Federation
from fedprllm_secure.method import Method
from fedprllm_secure.models.streamed import StreamedModel
from fedprllm_secure.parties import Baselines
from fedprllm_secure.pruned_model import PrunedModel, prune
from fedprllm_secure.schedule import Schedule
from fedprllm_secure.sparsity import Sparsity
from fedprllm_secure.work import WorkFolder

__all__ = [
    "Baselines",
    "Federation",
    "InputError",
    "Method",
    "Partition",
    "Perplexity",
    "PrunedModel",
    "Schedule",
    "Sparsity",
    "StreamedModel",
    "Windows",
    "WorkFolder",
    "cut_evaluation",
    "cut_windows",
    "perplexities",
    "prune",
    "read_documents",
    "read_windows",
    "split_documents",
]
