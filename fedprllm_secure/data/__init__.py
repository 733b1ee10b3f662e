"""Text in, windows out: documents from the hub or files, split over clients, cut into token windows."""

from fedprllm_secure.data.documents import DataError, Document, NoSuchSource, TooLittleText
from fedprllm_secure.data.evaluation import covered_bytes, cut_evaluation
from fedprllm_secure.data.hub import CORPORA, Corpus
from fedprllm_secure.data.partition import Partition, characters_for, split_documents
from fedprllm_secure.data.sources import read_documents
from fedprllm_secure.data.windows import Windows, cut_further, cut_windows, read_windows, windows_shape

__all__ = [
    "CORPORA",
    "Corpus",
    "DataError",
    "Document",
    "NoSuchSource",
    "Partition",
    "TooLittleText",
    "Windows",
    "characters_for",
    "covered_bytes",
    "cut_evaluation",
    "cut_further",
    "cut_windows",
    "read_documents",
    "read_windows",
    "split_documents",
    "windows_shape",
]
