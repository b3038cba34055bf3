"""Figures as text."""


def print_rows(rows: list[list[str]]) -> None:
    """Columns by their widest cell, never wrapped: a report is read in files too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) if i else cell.ljust(width)
                          for i, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        print('  '.join([first, *others]))
