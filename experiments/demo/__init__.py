"""The built-in demo: a small language model that is really trained, and text that every machine has."""

from pathlib import Path

DEMO_MODEL = Path(__file__).parent / "model"
