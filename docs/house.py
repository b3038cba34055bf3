"""The rooms of the house and the arrows between them, from the imports; draws docs/house.svg: ``python docs/house.py``.

A room is a folder of modules. `FLOORS` says on which floor each stands; a room imports only from lower floors. What a
package's ``__init__`` hands out lazily is no import of the room.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / 'docs' / 'house.svg'
PACKAGES = ('bridge', 'export', 'genaudio_core')
FLOORS = {
    'export/commands': 11,
    'genaudio_core/commands': 11,
    'bridge/commands/assistant': 10,
    'bridge/commands/offline': 10,
    'export': 10,
    'bridge/commands': 9,
    'export/kinds': 9,
    'genaudio_core/analysis': 9,
    'bridge/bench': 8,
    'genaudio_core/commands/data': 8,
    'genaudio_core/training/fit': 8,
    'bridge/daw': 8,
    'bridge/live': 7,
    'genaudio_core/training/queries': 7,
    'bridge/band': 6,
    'bridge/stems': 6,
    'genaudio_core/library': 6,
    'genaudio_core/script': 6,
    'genaudio_core/training/mixtures': 6,
    'bridge/musicians': 5,
    'bridge/pads': 5,
    'bridge/panel': 5,
    'bridge/plugins': 5,
    'bridge/transport': 5,
    'export/graphs': 5,
    'genaudio_core/arranging': 5,
    'genaudio_core/separation': 5,
    'genaudio_core/synthesis': 5,
    'genaudio_core/training/band_writer': 5,
    'genaudio_core/training/sounds': 5,
    'bridge/settings': 4,
    'genaudio_core/continuation': 4,
    'genaudio_core/models': 4,
    'genaudio_core/models/arranger': 4,
    'genaudio_core/models/encoders': 4,
    'genaudio_core/query': 4,
    'genaudio_core/training/scores': 4,
    'bridge/audio': 3,
    'bridge/midi': 3,
    'genaudio_core/music': 3,
    'genaudio_core/sound': 3,
    'bridge': 2,
    'bridge/system': 2,
    'genaudio_core/inference': 2,
    'genaudio_core/jobs': 2,
    'genaudio_core/score': 2,
    'genaudio_core/training/loops': 2,
    'genaudio_core/processes': 1,
    'genaudio_core': 0,
    'genaudio_core/training': 0,
}
"""room -> floor, 0 at the ground."""


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob('*.py')):
            name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
            found[name.removesuffix('.__init__')] = path
    return found


def room_of(path: Path) -> str:
    return path.parent.relative_to(ROOT).as_posix()


def imports_of(path: Path, known: dict[str, Path]) -> list[tuple[str, int]]:
    """The modules of ours that a file imports, anywhere in it, and the lines."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in known]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                if inner in known or node.module in known:
                    found.append((inner if inner in known else node.module, node.lineno))
    return found


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports from) -> where, as ``file:line``."""
    known, found = modules(), {}
    for path in known.values():
        room = room_of(path)
        if path.name == '__init__.py' and room in PACKAGES:
            continue
        for name, line in imports_of(path, known):
            if (other := room_of(known[name])) != room:
                found.setdefault((room, other), []).append(f'{path.relative_to(ROOT).as_posix()}:{line}')
    return found


def is_implied(arrow: tuple[str, str], all_of_them: set[tuple[str, str]]) -> bool:
    """Whether an arrow also follows from two or more others."""
    todo, seen = [b for a, b in all_of_them if a == arrow[0] and b != arrow[1]], set()
    while todo:
        room = todo.pop()
        if room == arrow[1]:
            return True
        if room not in seen:
            seen.add(room)
            todo += [b for a, b in all_of_them if a == room]
    return False


def draw() -> str:
    """The picture as SVG: one box a room, a floor a row, an arrow for every import between rooms."""
    width, height, step_x, step_y, margin = 178, 34, 192, 84, 24
    rows: dict[int, list[str]] = {}
    for room, floor in FLOORS.items():
        rows.setdefault(floor, []).append(room)
    top, widest = max(rows), max(map(len, rows.values()))
    at = {}
    for floor, rooms in rows.items():
        shift = (widest - len(rooms)) * step_x // 2
        for i, room in enumerate(sorted(rooms)):
            at[room] = (margin + shift + i * step_x, margin + (top - floor) * step_y)
    every = set(arrows())
    colours = {'bridge': '#dbeafe', 'export': '#fde2e2', 'genaudio_core': '#dcfce7'}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * margin + widest * step_x}" '
        f'height="{2 * margin + top * step_y + height}" font-family="sans-serif" font-size="11">',
        '<title>The rooms of genaudio: bridge blue, genaudio_core green, export red; an arrow is an import</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
    ]
    for a, b in sorted(every):
        (x, y), (u, v) = at[a], at[b]
        faint = is_implied((a, b), every)
        look = 'stroke="#e5e5e5" stroke-width="0.6"' if faint else 'stroke="#555" marker-end="url(#tip)"'
        lines.append(
            f'<path class="arrow" data-from="{a}" data-to="{b}" d="M{x + width // 2} {y + height} '
            f'{u + width // 2} {v}" {look}/>'
        )
    for room, (x, y) in sorted(at.items()):
        lines += [
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" stroke="#888" '
            f'fill="{colours[room.split("/")[0]]}"/>',
            f'<text x="{x + width // 2}" y="{y + 21}" text-anchor="middle">'
            f'{room.replace("genaudio_core", "core")}</text>',
        ]
    return '\n'.join([*lines, '</svg>', ''])


if __name__ == '__main__':
    PICTURE.write_text(draw())
