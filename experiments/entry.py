"""Where the ``fedprllm`` command starts: before anything slow is imported, so that Ctrl-C is always answered."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def main() -> int:
    """Run the command line and return its exit status."""
    atexit.register(gc.freeze)  # the system takes all memory back at once; looking for garbage takes a second
    try:
        with _for_good():
            from experiments import cli  # torch and transformers take seconds

        return cli.main()
    except KeyboardInterrupt:
        print("interrupted before anything was begun", file=sys.stderr)
        return 130


@contextmanager
def _for_good() -> Iterator[None]:
    """Look for no garbage among what is made within, now or later: imported modules stay to the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
