"""The state of the pages, and the part of it that each has not yet been sent. For the panel process's event loop.

A page that reads slowly, or not at all, costs a bounded amount of memory: of the state it gets what is newest, of notes
the last ones.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from bridge.panel.notes import unpacked

REMEMBERED = 1200  # notes of a kind, for a page that is opened later
LINES, MARGINS, SPECTRA = 50, 64, 64
ANSWERS = 50  # whose takes are remembered
STREAMS = ('heard', 'played')  # notes that are told once; the others are told as a whole each time


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: tuples as lists, and no number that is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class Page:
    """Messages that one socket is still to be sent."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.fresh = asyncio.Event()
        self._first: dict[str, Any] | None = first
        self._state: dict[str, Any] = {}
        self._streams = _streams()
        self._scene: dict[str, Any] = {}
        self._takes: dict[tuple[int, int], dict[str, Any]] = {}
        self.fresh.set()

    def add(self, *, state: Mapping[str, Any] = {}, scene: Mapping[str, Any] = {}, streams: Mapping[str, Any] = {},
            take: dict[str, Any] | None = None) -> None:  # fmt: skip
        """Something is new."""
        self._state.update(state)
        self._scene.update(scene)
        for name, items in streams.items():
            self._streams[name].extend(items)
        if take is not None:
            remember(self._takes, take)
        self.fresh.set()

    def news(self) -> dict[str, Any]:
        """Return all that is new as one message, and forget it."""
        self.fresh.clear()
        if self._first is not None:
            first, self._first = self._first, None
            self.fresh.set()  # what came meanwhile follows
            return first
        told: dict[str, Any] = {'type': 'news'}
        if self._state:
            told['state'], self._state = self._state, {}
        if self._scene:
            told['scene'], self._scene = dict(self._scene), {}
            told['scene']['age'] = round(time.monotonic() - told['scene'].pop('at'), 4)
        for name, items in self._streams.items():
            if items:
                told[name] = list(items)
                items.clear()
        if self._takes:
            told['takes'], self._takes = list(self._takes.values()), {}
        return told


def remember(takes: dict[tuple[int, int], dict[str, Any]], take: dict[str, Any]) -> None:
    """Keep a take among those of the last `ANSWERS` answers."""
    takes.pop((take['answer'], take['number']), None)
    takes[take['answer'], take['number']] = take
    answers = list(dict.fromkeys(answer for answer, _ in takes))
    for key in [key for key in takes if key[0] in answers[:-ANSWERS]]:
        del takes[key]


def _streams() -> dict[str, deque[Any]]:
    lengths = {
        'heard': REMEMBERED, 'played': REMEMBERED, 'margins': MARGINS, 'lines': LINES, 'levels': 1, 'spectra': SPECTRA,
    }  # fmt: skip
    return {name: deque(maxlen=length) for name, length in lengths.items()}


class Board:
    """All that is known.

    Parameters
    ----------
    kind : str
        'band' or 'stems'.
    facts : mapping
        What does not change.
    """

    def __init__(self, kind: str, facts: Mapping[str, Any]) -> None:
        self.pages: list[Page] = []
        self._hello = {'type': 'hello', 'kind': kind, 'facts': plain(facts)}
        self._state: dict[str, Any] = {}
        self._scene: dict[str, Any] = {}
        self._streams = _streams()
        self._takes: dict[tuple[int, int], dict[str, Any]] = {}

    def open(self) -> Page:
        """A page is there: it gets everything first."""
        now = {**self._scene}
        if now:
            now['age'] = round(time.monotonic() - now.pop('at'), 4)
        told = {name: list(items) for name, items in self._streams.items()}
        page = Page(
            {**self._hello, 'state': dict(self._state), 'scene': now, 'takes': list(self._takes.values()), **told}
        )
        self.pages.append(page)
        return page

    def take(self, answer: int, number: int) -> dict[str, Any] | None:
        """A take of one of the last answers."""
        return self._takes.get((answer, number))

    def close(self, page: Page) -> None:
        """A page is gone."""
        self.pages.remove(page)

    def state(self, changed: Mapping[str, Any]) -> None:
        """These figures and settings have changed."""
        new = plain(changed)
        self._state.update(new)
        for page in self.pages:
            page.add(state=new)

    def line(self, line: str) -> None:
        """A line for the person."""
        self._new({'lines': [line]})

    def sound(self, levels: list[list[float]], spectra: list[str]) -> None:
        """How loud stems are, and pictures of them (`bridge.panel.meters`)."""
        self._new({'levels': [levels], 'spectra': spectra})

    def scene(self, scene: dict[str, Any]) -> None:
        """The notes that sound now (`bridge.live.snapshot.Scenes`)."""
        streams = {name: unpacked(scene.pop(name)) for name in STREAMS}
        streams['margins'] = scene.pop('margins')
        take = scene.pop('take', None)
        if take is not None:
            take['notes'] = unpacked(take['notes'])
            values = self._state.get('values', {})
            take |= {
                'parts': self._state.get('parts', []), 'tempo': round(scene['tempo'], 3), 'bar': scene['bar'],
                'meter': [values.get(f'transport.{name}', 4) for name in ('beats_per_bar', 'beat_unit')],
            }  # fmt: skip
            remember(self._takes, take)
        for name in ('held', 'planned'):
            scene[name] = unpacked(scene[name])
        self._scene = scene
        self._new(plain(streams), plain(scene), take and plain(take))

    def _new(
        self, streams: Mapping[str, Any], scene: Mapping[str, Any] = {}, take: dict[str, Any] | None = None
    ) -> None:  # fmt: skip
        for name, items in streams.items():
            self._streams[name].extend(items)
        for page in self.pages:
            page.add(streams=streams, scene=scene, take=take)
