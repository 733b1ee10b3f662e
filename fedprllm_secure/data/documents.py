"""A document: the unit of text that a reader yields and a partition hands to a client.

Knows nothing of files, tokens or clients' windows.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedprllm_secure.errors import InputError


class DataError(InputError):
    """Text or windows cannot be used; the message says what, where and what would do."""


class TooLittleText(DataError):
    """A source has less text than is asked of it."""


class NoSuchSource(DataError):
    """A name is that of no source of text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text that belongs to one client.

    Attributes:
        text: not empty, encodable as UTF-8.
        client: whom the source says it belongs to, read by the ``natural`` partition.
        label: its class, read by the ``dirichlet`` partition.

    Raises:
        DataError: the text is empty or holds a lone surrogate.
    """

    text: str
    client: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        """Check the text."""
        if not self.text:
            raise DataError("a document's text is empty; leave such documents out")
        try:
            self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"a document holds a lone surrogate at character {error.start}, which no tokenizer reads; "
                "write the text as UTF-8"
            ) from error
