r"""Tables for papers: one `table*` each with booktabs rules; `\usepackage{booktabs,xcolor}` is all that they need."""

import textwrap

from benchmark.report.layout import Head, Layout, Line, Text

_SPECIALS = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "[": "{[}",
    "]": "{]}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "–": "--",
    "°": r"$^\circ$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "●": r"$\bullet$",
    "\u00a0": "~",
    "\u202f": r"\,",
}


def latex(tables: list[Layout]) -> str:
    r"""All tables as one file to be read by `\input`."""
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs,xcolor}. Built from records/ by `report`; do not edit.",
            *map(_table, tables),
        ]
    )


def escape(text: str) -> str:
    """Text in which nothing is special to LaTeX."""
    return "".join(_SPECIALS.get(character, character) for character in text)


def _table(table: Layout) -> str:
    columns = "".join(head.align[0] for head in table.heads)
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{escape(table.title)}. {escape(' '.join(table.legend))}}}",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            " & ".join(map(_heading, table.heads)) + r" \\",
            r"\midrule",
            *_body(table.lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _heading(head: Head) -> str:
    """At most 14 characters a line, standing on the rule."""
    lines = textwrap.wrap(head.text, 14, break_long_words=False) or [""]
    if len(lines) == 1:
        return escape(lines[0])
    stacked = r"\\".join(map(escape, lines))
    return rf"\shortstack[{head.align[0]}]{{{stacked}}}"


def _body(lines: list[Line]) -> list[str]:
    rows: list[str] = []
    for place, line in enumerate(lines):
        if place and line.kind == "method" and lines[place - 1].kind != "method":
            rows.append(r"\midrule")
        rows.append(" & ".join(map(_cell, line.cells)) + r" \\")
    return rows


def _cell(cell: Text) -> str:
    text = escape(cell.text)
    return rf"\textbf{{{text}}}" if cell.best else rf"\textcolor{{gray}}{{{text}}}" if cell.grey else text
