"""A preset played against a written part, on the simulated clock: to try it without a DAW, and to measure it.

The session is the one that `genaudio live` runs, led by a MIDI clock that follows the tempo map of the part. Only the
engine is simulated: every plan takes the same time on the simulated clock, however fast the machine is. So the same
seed gives the same notes everywhere, in no more time than it takes to compose them.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.band.arrange import make_arranger
from bridge.live.rehearsal import played_notes, simulate_inputs
from bridge.live.session import Session
from bridge.midi import messages
from bridge.midi.sender import SimulatedSender
from bridge.midi.wire_check import WireCheck
from bridge.musicians.musician import Musician, Request
from bridge.musicians.musician_process import SimulatedEngine
from bridge.musicians.rule_musician import FallbackMusician
from bridge.settings.band_preset import Preset
from bridge.system.clock import MAX_TEMPO, MIN_TEMPO, SimulatedClock
from bridge.system.notices import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.music.band_metrics import Bar, presence
from genaudio_core.music.piano_roll import Part
from genaudio_core.score.drum_parts import DRUM_CHANNEL
from genaudio_core.score.notes import Score, Track

LEAD_IN = 0.5  # seconds before the clock starts
FADE = 1.0  # seconds after its stop in which everything must have ended
LONGEST = 4 * 3600.0  # seconds of a part
PLAN = 0.03  # seconds that a plan takes on the simulated clock, unless said otherwise
YOU, BAND = 'you: ', 'band: '  # what the names of given and of new tracks begin with
_ANSWERS = ('respond', 'take_over')  # modes that go on when the player has ended
_ORDER = {0xB0: 2}  # of messages at one time: the clock (0), ends of notes (1), controllers, the rest (3), notes (4)


@dataclass
class Rehearsal:
    """The result: given and new tracks in one score, and figures about the new ones."""

    score: Score
    silent: tuple[str, ...]  # parts of the band that never played
    figures: dict[str, Any]

    @property
    def parts(self) -> list[Part]:
        """For a piano roll."""
        return [
            Part(track.name, [], track.notes, track.is_drum)
            if track.name.startswith(BAND)
            else Part(track.name, track.notes, [], track.is_drum)
            for track in self.score.tracks
        ]


def fitted(preset: Preset, score: Score, name: str, *, own_meter: bool = False) -> Preset:
    """Return the preset with tempo and meter of the part, led by MIDI clock.

    Notes go out at their time (no latency to make up for), and what the player plays is not played through: it is in
    the score already.

    Parameters
    ----------
    name : of the part, for messages
    own_meter : the preset keeps its meter

    Raises
    ------
    GenaudioError
        If the part is empty or too long, or no band could follow its tempo or its meter.
    """
    if not score.n_notes:
        raise GenaudioError(f'{name} contains no notes: there is nothing to play against.')
    if score.seconds_at(score.end) > LONGEST:
        hours = score.seconds_at(score.end) / 3600
        raise GenaudioError(f'{name} lasts {hours:.3g} hours; a rehearsal takes up to {LONGEST / 3600:g}.')
    for beat, tempo in score.tempos:
        if not MIN_TEMPO <= tempo <= MAX_TEMPO and beat < score.end:
            raise GenaudioError(
                f'{name} has a tempo of {tempo:.4g} BPM at beat {beat:g}; a band follows {MIN_TEMPO:g} to '
                f'{MAX_TEMPO:g} BPM.'
            )
    changes: dict[str, Any] = {
        'transport.leader': 'midi', 'transport.latency_ms': 0.0, 'transport.tempo': score.tempos[0].tempo,
        'player.thru': False,
    }  # fmt: skip
    if not own_meter:
        meter = score.meters[0]
        changes |= {'transport.beats_per_bar': meter.numerator, 'transport.beat_unit': meter.denominator}
        try:
            preset.with_values(changes)
        except GenaudioError as error:
            raise GenaudioError(
                f'{name} is in {meter.numerator}/{meter.denominator}, which a band cannot play in. Give a meter, '
                f'such as transport.beats_per_bar = 4 and transport.beat_unit = 4. ({error})'
            ) from None
    return preset.with_values(changes)


def rehearse(preset: Preset, score: Score, musician: Musician, *, plan_seconds: float = PLAN) -> Rehearsal:
    """Play `score` to the band of `preset`, which `fitted` has made ready for it.

    Parameters
    ----------
    musician : who answers; what it does in the background is done between two plans
    plan_seconds : simulated seconds from the question for a plan to its music; all of it arrives at once

    Raises
    ------
    GenaudioError
        If the musician does.
    """
    clock = SimulatedClock()
    sender = SimulatedSender(clock, len(preset['ports.outputs']))
    engine = _Engine(musician, clock, plan_seconds)
    wire = WireCheck()
    sender.on_send = wire.feed
    arranger = make_arranger(preset['music.model']) if preset['player.mode'] == 'arrange' else None
    session = Session(preset, clock, sender, engine, notify=notice, arranger=arranger)
    n_bars = max(math.ceil((score.end - 1e-3) / preset.bar), 1)
    if preset['player.mode'] in _ANSWERS:  # the band's turn comes after the player's last note
        n_bars += preset['player.bars_heard'] + preset['player.bars_answered']
    end = n_bars * preset.bar
    try:
        simulate_inputs(session, clock, sender, part_of(score, end), LEAD_IN + score.seconds_at(end) + FADE)
        wire.must_be_quiet(clock.now())
    finally:
        session.close()
        musician.close()
    wire.finish(clock.now())
    tracks = _band(session, sender, score)
    bars = [Bar(number * preset.bar, (number + 1) * preset.bar) for number in range(n_bars)]
    asked = engine.asked(bars) if engine.spans else [bar for bar in bars if bar.start < score.end - 1e-3]
    present = {track.name.removeprefix(BAND): presence(track.notes, asked) for track in tracks}
    result = Score(
        [*_given(score), *tracks], list(score.tempos), list(score.meters), max(score.ticks_per_beat, 480),
        list(score.others),
    )  # fmt: skip
    played = session.scheduler.played
    by_rule = played if isinstance(musician, FallbackMusician) else session.scheduler.by_rule
    asked_again = session.scheduler.asked_again
    figures = {
        'bars': n_bars, 'bars_asked': len(asked), 'notes_in': score.n_notes,
        'notes_out': sum(len(track.notes) for track in tracks), 'deadlines': session.units,
        'missed_deadlines': session.missed, 'late_notes': session.scheduler.late,
        'by_rule': round(by_rule / played, 4) if played else 0.0,
        'asked_again': round(asked_again / played, 4) if played else 0.0,
        'bars_stood_in': session.deadlines.stood_in,
        'silent_bars': sum(round((1 - share) * len(asked)) for share in present.values())
        if engine.spans
        else 0,
        'hung_notes': wire.hung_notes,
        'struck_twice': wire.struck_twice,
        'presence': {name: None if math.isnan(share) else round(share, 4) for name, share in present.items()},
    }  # fmt: skip
    silent = tuple(track.name.removeprefix(BAND) for track in tracks if not track.notes)
    return Rehearsal(result, silent, figures)


class _Engine(SimulatedEngine):
    """Remembers what was asked for, and lets the musician tidy up at once: on a simulated clock there is no rest."""

    def __init__(self, musician: Musician, clock: SimulatedClock, delay: float) -> None:
        super().__init__(musician, clock, delay, settle=True)
        self.spans: dict[int, tuple[float, float]] = {}  # request -> beats that it was to fill

    def ask(self, request: Request) -> None:
        self.spans[request.id] = (request.start, request.end)
        super().ask(request)

    def cancel(self, request: int, beat: float) -> None:
        if request in self.spans:
            start, end = self.spans[request]
            self.spans[request] = (start, min(end, beat))
        super().cancel(request, beat)

    def asked(self, bars: Sequence[Bar]) -> list[Bar]:
        """The bars of which half or more was asked for."""

        def share(bar: Bar) -> float:
            return sum(max(min(end, bar.end) - max(start, bar.start), 0.0) for start, end in self.spans.values())

        return [bar for bar in bars if share(bar) >= (bar.end - bar.start) / 2 - 1e-6]


# --- the part --------------------------------------------------------------------------------------------------------


def part_of(score: Score, end: float) -> list[tuple[float, int, bytes]]:
    """The MIDI of a DAW that plays `score` up to the bar line `end`: (bridge seconds, input, message), in order.

    A MIDI clock on the first input follows the tempo map and stops at `end`. Every track has a channel of its own, on
    as many inputs as that takes. A track says its program unless that is 0, which is also what a file means that names
    none: then the player plays what the preset says.
    """

    def seconds(beat: float) -> float:
        return LEAD_IN + score.seconds_at(beat)

    events: list[tuple[float, int, int, bytes]] = [(LEAD_IN, 0, 0, bytes((messages.START,)))]
    events += [(seconds(tick / 24), 0, 0, bytes((messages.CLOCK,))) for tick in range(round(end * 24))]
    events.append((seconds(end), 0, 0, bytes((messages.STOP,))))
    for track, (source, channel) in zip(score.tracks, _places(score), strict=True):
        if not track.notes:
            continue
        if track.program and not track.is_drum:
            events.append((0.0, 0, source, messages.program(channel, track.program)))
        for beat, message in track.others:
            if message.type in ('control_change', 'pitchwheel', 'aftertouch', 'polytouch') and beat < end:
                data = bytes(message.copy(channel=channel).bytes())
                events.append((seconds(beat), _ORDER.get(data[0] & 0xF0, 3), source, data))
        for note in track.notes:
            if note.beat < end - 1e-6:
                on, off = seconds(note.beat), seconds(note.beat + note.duration)
                events.append((on, 4, source, messages.note_on(channel, note.note, note.velocity)))
                # One of no length ends after it began.
                events.append((off, 1 if off > on else 5, source, messages.note_off(channel, note.note)))
    events.sort(key=lambda event: event[:2])
    return [(time, source, message) for time, _, source, message in events]


def _places(score: Score) -> list[tuple[int, int]]:
    """(input, channel 0..15) of every track; drums on channel 10."""
    kits, others = itertools.count(), itertools.count()
    pitched = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    places = []
    for track in score.tracks:
        if track.is_drum:
            places.append((next(kits), DRUM_CHANNEL))
        else:
            source, number = divmod(next(others), len(pitched))
            places.append((source, pitched[number]))
    return places


# --- what came of it -------------------------------------------------------------------------------------------------


def _given(score: Score) -> list[Track]:
    tracks = []
    for track in score.tracks:
        if track.notes:
            name = YOU + (track.name or track.instrument or f'program {track.program}')
            tracks.append(replace(track, name=name, notes=list(track.notes), others=list(track.others), place=None))
    return tracks


def _band(session: Session, sender: SimulatedSender, score: Score) -> list[Track]:
    """A track for every part, in the order of the preset; parts on one channel share one."""
    played = played_notes(sender.sent, lambda time: score.beat_at(time - LEAD_IN))
    by_place: dict[tuple[int, int], list[str]] = {}
    for voice, name in zip(session.voices, part_names([voice.instrument for voice in session.voices]), strict=True):
        by_place.setdefault((voice.output, voice.channel), []).append(name)
    tracks = []
    for voice in session.voices:
        names = by_place.pop((voice.output, voice.channel), None)
        if names is not None:
            track = Track.of(voice.instrument, played.get((voice.output, voice.channel), []))
            track.name = BAND + ' and '.join(names)
            tracks.append(track)
    return tracks


def part_names(instruments: Sequence[str]) -> list[str]:
    """Names of parts: their instruments, numbered where one has several: violin 1, violin 2, cello."""
    counts, seen, names = Counter(instruments), Counter(), []
    for name in instruments:
        seen[name] += 1
        names.append(f'{name} {seen[name]}' if counts[name] > 1 else name)
    return names
