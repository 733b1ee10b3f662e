"""Writes a document as Markdown, with its pictures as files beside it."""

from __future__ import annotations

import re

from experiments.report.document import Command, Document, Entry, Picture, Points, Table, Text

FIGURES = "figures"
# What Markdown or HTML inside it would read as more than letters.
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")


def markdown(document: Document) -> str:
    """Write it; every string is escaped."""
    lines = [f"# {escaped(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join([*lines, "---", "", escaped(document.made), ""])


def escaped(text: str) -> str:
    """Keep Markdown from reading a string as more than its letters, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _block(block: Text | Points | Table | Picture | Command) -> list[str]:
    if isinstance(block, Text):
        return [escaped(block.words)]
    if isinstance(block, Points):
        return [f"- {escaped(words)}" for words in block.each]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Command):
        return _command(block)
    return [
        f"### {escaped(block.title)}",
        "",
        f"![{escaped(block.title)}]({FIGURES}/{block.key}.png)",
        "",
        escaped(block.says),
        "",
        *_table(block.table),
    ]


def _table(table: Table) -> list[str]:
    rows = [" | ".join(_entry(entry) for entry in row) for row in table.rows]
    head = " | ".join(escaped(column) for column in table.columns)
    return [
        f"{escaped(table.title)}:",
        "",
        f"| {head} |",
        "|" + "---|" * len(table.columns),
        *(f"| {row} |" for row in rows),
    ]


def _entry(entry: Entry) -> str:
    if isinstance(entry, str):
        return escaped(entry)
    return ", ".join(f"[{escaped(name)}](#from-{name})" for name in entry.names)


def _command(command: Command) -> list[str]:
    # A fence longer than any run of backticks in what it holds.
    runs = [len(run) for run in re.findall(r"`+", command.line)]
    fence = "`" * max(3, *(run + 1 for run in runs), 3)
    return [
        f'<a id="from-{command.name}"></a>',
        "",
        f"### {escaped(command.name)}: {escaped(command.what)}",
        "",
        fence,
        command.line,
        fence,
        "",
        *(f"- {escaped(note)}" for note in command.notes),
    ]
