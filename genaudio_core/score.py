"""Notes, tracks and scores in beats, with tempo and meter map; Standard MIDI Files in and out.

Time here is in beats: one beat is one quarter note, whatever the meter. `Score.seconds_at` and
`Score.beat_at` are the only bridge to seconds.
"""

import bisect
import io
import itertools
import math
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mido
from mido.midifiles.meta import KeySignatureError

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write
from genaudio_core.instruments import CODE_TO_PROGRAM, DRUMS, PROGRAM_TO_LIVE_CODE, instrument_code, instrument_name

DEFAULT_TEMPO = 120.0  # BPM, where a file names none
DRUM_CHANNEL = 9  # channels count from 0: this is the musician's channel 10


class Note(NamedTuple):
    """One note. A tuple, because scores hold millions and numpy reads tuples fast."""

    beat: float  # onset in quarter notes from the start of the score
    duration: float  # quarter notes, 0 or more
    note: int  # 0..127, 60 is middle C
    velocity: int = 64  # 1..127


class Tempo(NamedTuple):
    """From this beat on, `tempo` quarter notes a minute."""

    beat: float
    tempo: float


class Meter(NamedTuple):
    """From this beat on, bars of `numerator` notes of value 1/`denominator`."""

    beat: float
    numerator: int
    denominator: int

    @property
    def bar_length(self) -> float:
        """Length of one bar in quarter notes."""
        return self.numerator * 4 / self.denominator


@dataclass
class Track:
    """The notes of one instrument, and the other messages of its channel (pedal, bend, aftertouch, ...)."""

    program: int = 0  # General MIDI, 0..127
    is_drum: bool = False
    name: str = ''
    notes: list[Note] = field(default_factory=list)
    channel: int | None = None  # 0..15, where the track came from or wants to be written to
    others: list[tuple[float, Any]] = field(default_factory=list)  # (beat, mido message); mido has no types

    @property
    def instrument(self) -> str:
        """Instrument class of the live encoding; empty for the sound effects 120..127."""
        if self.is_drum:
            return DRUMS
        code = PROGRAM_TO_LIVE_CODE[self.program]
        return instrument_name(code) if code else ''

    @classmethod
    def of(cls, instrument: str, notes: list[Note] | None = None) -> 'Track':
        """Make a track for an instrument class (``instruments.INSTRUMENTS`` or 'drums')."""
        is_drum = instrument == DRUMS
        program = CODE_TO_PROGRAM[instrument_code(instrument)]
        return cls(program, is_drum, instrument, notes or [])

    @property
    def pedals(self) -> list[tuple[float, float]]:
        """Spans (beat, beat) in which the sustain pedal (CC 64) is down; one never lifted ends at infinity."""
        spans, down = [], None
        for beat, message in self.others:
            if message.type == 'control_change' and message.control == 64:
                if message.value >= 64 and down is None:
                    down = beat
                elif message.value < 64 and down is not None:
                    spans.append((down, beat))
                    down = None
        if down is not None:
            spans.append((down, math.inf))
        return spans

    def sustained(self) -> list[Note]:
        """The notes as long as they sound: held by the pedal until it lifts or the key is struck again."""
        pedals = self.pedals
        if not pedals:
            return self.notes
        starts = [start for start, _ in pedals]
        last_end = max((note.beat + note.duration for note in self.notes), default=0.0)
        next_onset: dict[int, float] = {}
        result = []
        for note in sorted(self.notes, reverse=True):
            end = note.beat + note.duration
            index = bisect.bisect_right(starts, end) - 1
            if index >= 0 and end < pedals[index][1]:
                lifted = pedals[index][1] if math.isfinite(pedals[index][1]) else last_end
                end = max(end, min(lifted, next_onset.get(note.note, math.inf)))
            next_onset[note.note] = note.beat
            result.append(note._replace(duration=end - note.beat))
        return result[::-1]


@dataclass
class Score:
    """Tracks with a tempo and a meter map. Both maps always hold an entry at beat 0."""

    tracks: list[Track] = field(default_factory=list)
    tempos: list[Tempo] = field(default_factory=lambda: [Tempo(0.0, DEFAULT_TEMPO)])
    meters: list[Meter] = field(default_factory=lambda: [Meter(0.0, 4, 4)])
    ticks_per_beat: int = 480
    others: list[tuple[float, Any]] = field(default_factory=list)  # key signatures, markers, text

    @property
    def n_notes(self) -> int:
        return sum(len(track.notes) for track in self.tracks)

    @property
    def end(self) -> float:
        """Beat at which the last note ends; 0 without notes."""
        return max((note.beat + note.duration for track in self.tracks for note in track.notes), default=0.0)

    @property
    def instruments(self) -> list[str]:
        """Instrument classes that have notes, in the order of the encoding."""
        names = {track.instrument for track in self.tracks if track.notes and track.instrument}
        return sorted(names, key=instrument_code)

    def seconds_at(self, beat: float) -> float:
        """Seconds from the start of the score to `beat`."""
        seconds = 0.0
        for i, (start, tempo) in enumerate(self.tempos):
            end = self.tempos[i + 1].beat if i + 1 < len(self.tempos) else math.inf
            if beat <= end:
                return seconds + (beat - start) * 60 / tempo
            seconds += (end - start) * 60 / tempo
        return seconds

    def beat_at(self, seconds: float) -> float:
        """Beat reached `seconds` after the start of the score; the inverse of `seconds_at`."""
        elapsed = 0.0
        for i, (start, tempo) in enumerate(self.tempos):
            end = self.tempos[i + 1].beat if i + 1 < len(self.tempos) else math.inf
            span = (end - start) * 60 / tempo
            if seconds <= elapsed + span:
                return start + (seconds - elapsed) * tempo / 60
            elapsed += span
        return 0.0

    def meter_at(self, beat: float) -> Meter:
        """The meter in force at `beat`."""
        return self.meters[max(bisect.bisect_right([meter.beat for meter in self.meters], beat) - 1, 0)]

    def bar_start(self, beat: float) -> float:
        """Beat of the bar line at or before `beat`."""
        meter = self.meter_at(beat)
        # A hair of tolerance: 3 * (1/3) must count as being on the line.
        return meter.beat + math.floor((beat - meter.beat) / meter.bar_length + 1e-9) * meter.bar_length

    def next_bar(self, beat: float) -> float:
        """Beat of the first bar line at or after `beat`."""
        start = self.bar_start(beat)
        if beat - start < 1e-6:
            return start
        line = start + self.meter_at(beat).bar_length
        # A meter change ends the bar before it (that is how files write a pick-up).
        return min([line, *(meter.beat for meter in self.meters if beat <= meter.beat < line)])

    def tempo_at(self, beat: float) -> float:
        """Tempo (BPM) in force at `beat`."""
        return self.tempos[max(bisect.bisect_right([tempo.beat for tempo in self.tempos], beat) - 1, 0)].tempo


# A key signature of nine sharps is nonsense that files do hold, and no reason to refuse their notes (mido would).
_BAD_KEY = re.compile(rb'\xff\x59\x02(?:[\x08-\xf8][\x00-\xff]|[\x00-\xff][\x02-\xff])', re.DOTALL)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_midi(source: str | Path | bytes) -> Score:
    """Read a Standard MIDI File of type 0, 1 or 2 (or one wrapped in RIFF).

    One `Track` is made for each (MIDI track, channel, program) that has notes. Notes of one key and channel are
    paired first on, first off; a note that is never released ends with its file. The songs of a type 2 file
    follow one another, each from a whole beat. An SMPTE time base is turned into beats by the file's tempo map.

    Raises
    ------
    GenaudioError
        If the file is missing, empty, no MIDI file, or damaged.
    """
    name = 'The MIDI data' if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise GenaudioError(f'Cannot read {name}: {error.strerror}.') from error
    if not data:
        raise GenaudioError(f'{name} is empty.')
    if data[:4] == b'RIFF' and data[8:12] == b'RMID':
        data = data[max(data.find(b'MThd'), 0) :]
    data = _BAD_KEY.sub(b'\xff\x59\x02\x00\x00', data)
    if data[:4] != b'MThd':
        raise GenaudioError(f'{name} is not a MIDI file.')
    try:
        midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except (EOFError, IndexError):
        raise GenaudioError(f'{name} is truncated: it ends in the middle of a track.') from None
    except (OSError, ValueError, TypeError, LookupError, KeySignatureError) as error:
        raise GenaudioError(f'{name} is a damaged MIDI file ({error}).') from None
    if midi.type not in (0, 1, 2):
        raise GenaudioError(f'{name} says it is a MIDI file of type {midi.type}; known are 0, 1 and 2.')
    if midi.ticks_per_beat == 0:
        raise GenaudioError(f'{name} is a damaged MIDI file (its time base is zero).')
    if len(midi.tracks) < int.from_bytes(data[10:12], 'big'):
        raise GenaudioError(f'{name} is truncated: its header promises more tracks than it holds.')
    return _to_score(midi)


def _to_score(midi: mido.MidiFile) -> Score:
    division = midi.ticks_per_beat
    songs = [[track] for track in midi.tracks] if midi.type == 2 else [midi.tracks]
    if division > 0:
        score = Score(tempos=[], meters=[], ticks_per_beat=division)
        offset = 0
        for song in songs:
            length = _read_song(song, score, offset, division)
            offset = math.ceil((offset + length) / division) * division
    else:
        # SMPTE: a tick is a fixed part of a second, so beats are read off the tempo map afterwards.
        frames, ticks_per_frame = 256 - (division >> 8 & 0xFF), division & 0xFF
        ticks_per_second = (29.97 if frames == 29 else frames) * max(ticks_per_frame, 1)
        score = Score(tempos=[], meters=[])
        offset = 0
        for song in songs:
            offset += _read_song(song, score, offset, ticks_per_second)
        _seconds_to_beats(score)
    score.tempos = _clean_map(score.tempos, Tempo(0.0, DEFAULT_TEMPO))
    score.meters = _clean_map(score.meters, Meter(0.0, 4, 4))
    score.others.sort(key=lambda item: item[0])
    return score


def _read_song(midi_tracks: list, score: Score, offset: int, ticks_per_unit: float) -> int:
    """Add the tracks of one song to `score`, in units of `ticks_per_unit`; return its length in ticks."""
    length = 0
    channel_program: dict[int, int] = {}  # what other tracks of the song said last
    channel_program |= {
        message.channel: message.program
        for midi_track in midi_tracks
        for message in midi_track
        if message.type == 'program_change'
    }
    for midi_track in midi_tracks:
        tracks: dict[tuple[int, int], Track] = {}
        own_program: dict[int, int] = {}
        sounding: dict[tuple[int, int], deque] = defaultdict(deque)
        others: dict[int, list] = defaultdict(list)
        name = ''
        tick = offset

        def close(channel: int, key: int, end: int, sounding=sounding):
            track, onset, velocity = sounding[channel, key].popleft()
            track.notes.append(
                Note(onset / ticks_per_unit, (end - onset) / ticks_per_unit, key, velocity)
            )

        def track_of(channel: int, own_program=own_program, tracks=tracks) -> Track:
            program = own_program.get(channel, channel_program.get(channel, 0))
            if (channel, program) not in tracks:
                tracks[channel, program] = Track(program, channel == DRUM_CHANNEL, '', [], channel)
            return tracks[channel, program]

        for message in midi_track:
            tick += message.time
            kind = message.type
            if kind == 'note_on' and message.velocity > 0:
                sounding[message.channel, message.note].append((track_of(message.channel), tick, message.velocity))
            elif kind in ('note_off', 'note_on'):
                if sounding[message.channel, message.note]:
                    close(message.channel, message.note, tick)
            elif kind == 'program_change':
                own_program[message.channel] = message.program
            elif kind == 'set_tempo':
                if message.tempo:
                    score.tempos.append(Tempo(tick / ticks_per_unit, 60e6 / message.tempo))
            elif kind == 'time_signature':
                if message.numerator and message.denominator:
                    score.meters.append(Meter(tick / ticks_per_unit, message.numerator, message.denominator))
            elif kind == 'track_name':
                name = name or message.name
            elif kind in ('end_of_track', 'midi_port', 'channel_prefix', 'instrument_name'):
                pass
            elif message.is_meta:
                score.others.append((tick / ticks_per_unit, message.copy(time=0)))
            elif kind == 'sysex':
                others[-1].append((tick / ticks_per_unit, message.copy(time=0)))
            elif hasattr(message, 'channel'):
                others[message.channel].append((tick / ticks_per_unit, message.copy(time=0)))
        for (channel, key), waiting in sounding.items():
            while waiting:
                close(channel, key, tick)
        length = max(length, tick - offset)
        for (channel, _), track in tracks.items():
            track.name = name.strip('\x00 ')
            track.notes.sort()
            # Controllers of a channel go with its first track; sysex with the first of the MIDI track.
            track.others = others.pop(channel, []) + others.pop(-1, [])
            track.others.sort(key=lambda item: item[0])
            score.tracks.append(track)
    return length


def _seconds_to_beats(score: Score) -> None:
    """Turn a score whose times are in seconds into beats, by its tempo map (also in seconds)."""
    by_seconds = sorted({tempo.beat: tempo for tempo in score.tempos}.values()) or [Tempo(0.0, DEFAULT_TEMPO)]
    if by_seconds[0].beat > 0:
        by_seconds.insert(0, Tempo(0.0, DEFAULT_TEMPO))
    starts, beats = [tempo.beat for tempo in by_seconds], [0.0]
    for before, after in itertools.pairwise(by_seconds):
        beats.append(beats[-1] + (after.beat - before.beat) * before.tempo / 60)

    def to_beat(seconds: float) -> float:
        index = max(bisect.bisect_right(starts, seconds) - 1, 0)
        return beats[index] + (seconds - starts[index]) * by_seconds[index].tempo / 60

    for track in score.tracks:
        track.notes = [
            note._replace(beat=to_beat(note.beat), duration=to_beat(note.beat + note.duration) - to_beat(note.beat))
            for note in track.notes
        ]
        track.others = [(to_beat(time), message) for time, message in track.others]
    score.tempos = [tempo._replace(beat=to_beat(tempo.beat)) for tempo in by_seconds]
    score.meters = [meter._replace(beat=to_beat(meter.beat)) for meter in score.meters]
    score.others = [(to_beat(time), message) for time, message in score.others]


def _clean_map(entries: list, default) -> list:
    """Sort by beat, let the last entry at a beat win, drop repetitions, and begin at beat 0."""
    by_beat = {entry.beat: entry for entry in sorted(entries, key=lambda entry: entry.beat)}
    by_beat.setdefault(0.0, default)
    cleaned = []
    for beat in sorted(by_beat):
        if not cleaned or by_beat[beat][1:] != cleaned[-1][1:]:
            cleaned.append(by_beat[beat])
    return cleaned


# --- writing ---------------------------------------------------------------------------------------------------------

_OFF, _OTHER, _ON = 0, 1, 2  # order within one tick: an off first, so that a repeated key sounds again


def to_midi(score: Score) -> mido.MidiFile:
    """Return a type 1 MIDI file: a conductor track, then one track for each `Track`.

    Tracks keep the channel they came from; the others get free ones (drums always channel 10). Beyond 15
    melodic tracks further MIDI ports are used, as sequencers do.
    """
    resolution = score.ticks_per_beat
    midi = mido.MidiFile(type=1, ticks_per_beat=resolution, charset='utf-8')

    def tick(beat: float) -> int:
        return round(beat * resolution)

    conductor: list[tuple[int, int, Any]] = []
    for meter in score.meters:
        message = mido.MetaMessage('time_signature', numerator=meter.numerator, denominator=meter.denominator)
        conductor.append((tick(meter.beat), 0, message))
    for beat, tempo in score.tempos:
        conductor.append((tick(beat), 1, mido.MetaMessage('set_tempo', tempo=min(round(60e6 / tempo), 0xFFFFFF))))
    conductor += [(tick(beat), 2, message) for beat, message in score.others]
    midi.tracks.append(_to_midi_track(conductor))

    for track, (port, channel) in zip(score.tracks, _channels(score.tracks), strict=True):
        head: list[tuple[int, int, Any]] = []
        if track.name:
            head.append((0, -3, mido.MetaMessage('track_name', name=track.name)))
        if port:
            head.append((0, -2, mido.MetaMessage('midi_port', port=port)))
        head.append((0, -1, mido.Message('program_change', channel=channel, program=track.program)))
        for beat, message in track.others:
            message = message if message.is_meta or message.type == 'sysex' else message.copy(channel=channel)
            head.append((tick(beat), _OTHER, message))
        for note in track.notes:
            start, end = tick(note.beat), tick(note.beat + note.duration)
            on = mido.Message('note_on', channel=channel, note=note.note, velocity=note.velocity)
            off = mido.Message('note_off', channel=channel, note=note.note)
            head.append((start, _ON, on))
            # An off at its own on's tick must follow it, or a note of no length would never end.
            head.append((end, _OFF if end > start else _ON, off))
        midi.tracks.append(_to_midi_track(head))
    return midi


def write_midi(score: Score, path: str | Path) -> None:
    """Write `score` as a Standard MIDI File; nothing half-written is left.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    midi = to_midi(score)
    with atomic_write(path) as temporary:
        midi.save(str(temporary))


def _to_midi_track(messages: list) -> mido.MidiTrack:
    messages.sort(key=lambda item: item[:2])  # stable: equal entries keep their order
    result, now = mido.MidiTrack(), 0
    for tick, _, message in messages:
        result.append(message.copy(time=tick - now))
        now = tick
    result.append(mido.MetaMessage('end_of_track', time=0))
    return result


def _channels(tracks: list[Track]) -> list[tuple[int, int]]:
    """(port, channel) for each track."""
    taken: set[tuple[int, int]] = set()
    result: list[tuple[int, int] | None] = [None] * len(tracks)
    for i, track in enumerate(tracks):
        if track.is_drum:
            result[i] = (0, DRUM_CHANNEL)  # drum tracks may share: a kit has one program
        elif track.channel is not None and track.channel != DRUM_CHANNEL and (0, track.channel) not in taken:
            result[i] = (0, track.channel)
            taken.add((0, track.channel))
    for i in range(len(tracks)):
        if result[i] is None:
            place = next(
                (port, channel)
                for port in range(len(tracks) + 1)
                for channel in range(16)
                if channel != DRUM_CHANNEL and (port, channel) not in taken
            )
            result[i] = place
            taken.add(place)
    return [place for place in result if place is not None]
