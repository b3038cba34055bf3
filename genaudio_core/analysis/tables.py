"""Figures as text."""

from genaudio_core.command_line import printable


def print_rows(rows: list[list[str]]) -> None:
    """Columns by their widest cell, never wrapped: a report is read in files too."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) if i else cell.ljust(width)
                          for i, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        print('  '.join([first, *others]))
