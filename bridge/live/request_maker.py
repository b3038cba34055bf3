"""Requests to the musicians, with all that the session knows of harmony and groove."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from bridge.band.chord_follower import ChordFollower
from bridge.band.groove_follower import GrooveFollower
from bridge.musicians import own_chords
from bridge.musicians.musician import ChordAt, HeardNote, MusicControls, Request
from bridge.settings.key import wanted_key
from genaudio_core.music.drum_grooves import groove
from genaudio_core.score.instruments import DRUMS

if TYPE_CHECKING:
    from bridge.live.session import Session
    from bridge.settings.band_preset import Preset


HEARS = 2  # bars behind a note of the player's in which a band that plays freely goes with its harmony


class RequestMaker:
    """Follows the player and makes requests. Only the session's thread may call it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.harmony = ChordFollower.of(session.preset, session.heard)
        self.pace = GrooveFollower(session.preset.bar, session.heard)
        self._next = 1

    def use(self, preset: Preset) -> None:
        """Take over what another preset says of the harmony."""
        self.harmony.chart = ChordFollower.of(preset).chart

    def hear(self, new: list[HeardNote]) -> None:
        """These notes are new in the session's memory."""
        self.harmony.hear(new, self._beat())

    def chords(self, start: float, end: float) -> tuple[ChordAt, ...]:
        """The chords to play over in [start, end): see `ChordFollower.over`; what is held counts."""
        beat = self._beat()
        self.harmony.hear(self.session.heard.hear(self.session.listener.held(beat)), beat)
        return self.harmony.over(start, end)

    def make(self, start: float, end: float, role: str, listens: float) -> Request:
        """A new question for [start, end), by the settings of now."""
        session, preset = self.session, self.session.preset
        controls = MusicControls(**{one.name: preset[f'music.{one.name}'] for one in fields(MusicControls)})
        meter = preset['transport.beats_per_bar'], preset['transport.beat_unit']
        chords = self._free(start, end) if role == 'free' else self.chords(start, end)
        own = tuple(self._of_part(controls, part) for part in range(len(session.voices))) if preset.part_values else ()
        drums = next((part for part, voice in enumerate(session.voices) if voice.instrument == DRUMS), None)
        density = own[drums].density if own and drums is not None else controls.density
        pace, tempo = self.pace.pace(start), session.transport.tempo
        number, self._next = self._next, self._next + 1
        return Request(
            number, start, end, tuple(voice.instrument for voice in session.voices), role, controls,
            preset['music.takes'], preset['music.seed'] + number, session.transport.bar, chords,
            listens, groove(preset['music.groove'], meter, pace, density=density, tempo=tempo),
            next((voice.drum_keys for voice in session.voices if voice.instrument == DRUMS), ()), pace.feel, meter,
            tempo, own, leans=preset['engine.leaning'],
        )  # fmt: skip

    def _of_part(self, band: MusicControls, part: int) -> MusicControls:
        """The controls of a part: its density moves with the band's; a range outside of the band's wins over it."""
        preset = self.session.preset
        low, high = preset.range_of(part)
        inside = max(low, band.low), min(high, band.high)
        low, high = inside if inside[0] <= inside[1] else (low, high)
        beside = preset.of_part('density', part)
        density = band.density if beside is None else min(max(band.density + beside - 0.5, 0.0), 1.0)
        return replace(band, density=density, low=low, high=high)

    def _free(self, start: float, end: float) -> tuple[ChordAt, ...]:
        """Harmony of its own; where the player plays, the player's."""
        session, preset = self.session, self.session.preset
        listens = self._beat() - session.listener.last_on < HEARS * session.transport.bar
        if (listens or self.harmony.chart) and (chords := self.chords(start, end)):
            return chords
        key = wanted_key(preset['music.key'])
        return own_chords.chords(start, end, session.transport.bar, key, preset['music.seed'])

    def _beat(self) -> float:
        return self.session.transport.beat_at(self.session.clock.now())
