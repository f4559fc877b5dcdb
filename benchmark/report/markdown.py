"""Tables as Markdown."""

from collections.abc import Sequence

from benchmark.report.layout import Layout, Text


def section(table: Layout, level: int = 3) -> list[str]:
    """Blocks: a heading, the table, its legend as a list."""
    return [f"{'#' * level} {table.title}", grid(table), "\n".join(f"- {line}" for line in table.legend)]


def grid(table: Layout) -> str:
    """Head and rows; what is best in bold, anchors in italics."""
    rows = [
        [head.text for head in table.heads],
        ["---:" if head.align == "right" else ":---" for head in table.heads],
    ]
    rows += [
        [_text(cell, line.kind != "method" and not place) for place, cell in enumerate(line.cells)]
        for line in table.lines
    ]
    return bare(rows)


def bare(rows: Sequence[Sequence[str]]) -> str:
    """Lines of cells as they are."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(text: str) -> str:
    """Text in which nothing is special to Markdown."""
    for special in "\\|*_[]<`":
        text = text.replace(special, f"\\{special}")
    return text


def _text(cell: Text, italic: bool) -> str:
    mark = "**" if cell.best else "*" if italic else ""
    text = escaped(cell.text)
    return f"{mark}{text}{mark}" if text else text
