"""A panel with a session behind it, on a simulated clock and without ports; and a real browser to look at panels."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live_band import Stage, preset

from bridge.live.snapshot import Scenes
from bridge.midi.messages import note_off, note_on
from bridge.panel.facts import band_facts, part_facts, presets
from bridge.panel.panel import Panel, PanelAddress

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
PATIENCE = 180_000  # ms, on a machine that is busy
LOOP = ((48, 60, 64, 67), (45, 57, 60, 64), (41, 57, 60, 65), (43, 55, 59, 62))  # C Am F G, a bar each


class PanelStage:
    """A band that a pianist has played to, and its panel. `until` lets the panel work; `play` lets the music go on."""

    def __init__(
        self, mode: str = 'accompany', parts: tuple[str, ...] = ('bass', 'drums', 'pad'), **values: Any
    ) -> None:
        self.stage = Stage(preset(mode, [{'instrument': name} for name in parts], **values))
        self.session = self.stage.session
        self.scenes = Scenes(self.session)
        self.messages: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.panel = Panel(PanelAddress(), 'band', band_facts(), self.take, self.lines.append)
        self.presets = presets()
        self.bars = 0

    def take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.session.apply(message)

    def play(self, bars: int, chords: bool = True) -> None:
        """Play the loop of chords in 4/4 at 120 BPM, and have it drawn by the half beat."""
        for _ in range(bars):
            start = 2.0 * self.bars + 0.1
            notes = LOOP[self.bars % 4] if chords else ()
            self.bars += 1
            score = [(start, note_on(0, n, 80)) for n in notes] + [(start + 1.9, note_off(0, n)) for n in notes]
            for step in range(1, 9):
                until = start + 0.25 * step
                inside = [one for one in score if until - 0.25 <= one[0] < until]
                self.stage.play(inside, until)
                self.draw()

    def draw(self) -> None:
        self.panel.draw(self.scenes.make())
        self.scenes.told()
        now = self.session.snapshot()
        self.panel.show(now | {'presets': self.presets, 'part_knobs': part_facts(now)})
        self.panel.look()

    def until(self, holds: Callable[[], Any], seconds: float = 60, rest: Callable[[], Any] | None = None) -> bool:
        """Look after the panel until something holds; `rest` waits a little (a page's own wait)."""
        end = time.monotonic() + seconds
        while not (found := bool(holds())) and time.monotonic() < end:
            self.panel.look()
            (rest or (lambda: time.sleep(0.02)))()
        return found

    def close(self) -> None:
        self.panel.close()
        self.session.close()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run it; give contexts with `new_context`, pages with `new_page`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=BROWSER, args=['--no-sandbox'] if os.geteuid() == 0 else [], timeout=2 * PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """One for all tests of a file, which imports this."""
    with chromium() as running:
        yield running


def new_page(browser: Any, **options: Any) -> Any:
    """A page of its own, whose errors can be read from its list ``faults``."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    page.faults = []
    page.on('pageerror', lambda error: page.faults.append(str(error)))
    page.on('console', lambda line: page.faults.append(line.text) if line.type == 'error' else None)
    return page
