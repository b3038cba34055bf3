"""Scores out of Standard MIDI Files, and back into them.

Reading makes notes of a file (`read_midi`). A score that was read remembers its file, and writing it (`write_midi`)
changes in that file what was changed in the score: everything else stays as it was, byte for byte and in its order,
with all that we have no use for.
"""

import bisect
import heapq
import io
import itertools
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import mido
from mido.messages.messages import SysexData
from mido.midifiles.meta import UnknownMetaMessage, build_meta_message

from genaudio_core.files import atomic_write, read_bytes
from genaudio_core.score import smf
from genaudio_core.score.drum_parts import DRUM_CHANNEL, DrumParts, concerns_drums
from genaudio_core.score.notes import DEFAULT_TEMPO, Meter, Note, Score, Tempo, Track
from genaudio_core.score.source import TEXTS, Channel, Place, Source
from genaudio_core.score.writing import file_of

__all__ = ['DEFAULT_TEMPO', 'DRUM_CHANNEL', 'Meter', 'Note', 'Score', 'Tempo', 'Track',
           'midi_bytes', 'read_midi', 'to_midi', 'write_midi']  # fmt: skip

MAX_BYTES = 1 << 28  # of a file; a million events are 4 MB
LATEST = 1_000_000.0  # beats; a note that begins later is left in its file


# --- reading ---------------------------------------------------------------------------------------------------------


def read_midi(source: str | Path | bytes) -> Score:
    """Read a Standard MIDI File of type 0, 1 or 2 (or one wrapped in RIFF).

    One `Track` is made for each (MIDI track, port, channel, program) that has notes; a program change acts from where
    it stands. Drums are channel 10, and what GM2, GS or XG have made drums (`drum_parts`). Notes of one key and channel
    are paired first on, first off; All Notes Off and its kin end them too, and a note that is never released ends with
    its track. The songs of a type 2 file follow one another, each from a whole beat. An SMPTE time base is turned into
    beats by the file's tempo map. Damage costs what is damaged, and `Score.warnings` says what it is.

    Raises
    ------
    GenaudioError
        If the file is missing, empty, no MIDI file, or so damaged that nothing can be read.
    """
    name = 'The MIDI data' if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    else:
        data = read_bytes(source, MAX_BYTES, begins=(b'MThd', b'RIFF'), what='MIDI file')
    file = smf.parse(data, name)
    score = _Reader(file).score
    told = [*file.faults]
    if late := sum(map(_leave_out_late, score.tracks)):
        told.append(f'{late} notes after beat {LATEST:,.0f} are passed over')
    if told:
        score.warnings.append(f'{name}: {"; ".join(told)}. The rest is read.')
    odd = []
    if n := file.nonsense:
        odd.append('a meta event that means nothing is left out' if n == 1 else
                   f'{n} meta events that mean nothing are left out')  # fmt: skip
    if n := file.clipped:
        odd.append(f'{n} event{"" if n == 1 else "s"} with bytes over 127 {"is" if n == 1 else "are"} read with 127')
    if odd:
        score.remarks.append(f'{name}: {"; ".join(odd)}.')
    return score


def _leave_out_late(track: Track) -> int:
    place: Place = track.place
    n = len(place.notes)
    if not n or max(note.beat + note.duration for note in track.notes) <= LATEST:
        return 0
    place.notes = [
        (note._replace(duration=min(note.duration, LATEST - note.beat)), on, off)
        for note, on, off in place.notes if note.beat < LATEST
    ]  # fmt: skip
    track.notes = [note for note, _, _ in place.notes]
    return n - len(place.notes)


class _Reader:
    """Makes the score of a file."""

    def __init__(self, file: smf.File):
        self.file = file
        self.unit: float = file.ticks_per_beat or file.ticks_per_second
        self._fields: dict[bytes, dict[str, Any]] = {}  # of the messages that there are, by their bytes
        self.source = Source(file, [0] * len(file.tracks))
        self.score = Score(tempos=[], meters=[], ticks_per_beat=file.ticks_per_beat or 480, source=self.source)
        chunks = range(len(file.tracks))
        start = 0
        for song in [[i] for i in chunks] if file.format == 2 else [list(chunks)]:
            for chunk in song:
                self.source.starts[chunk] = start
            self._read_song(song, start)
            start += max((file.tracks[chunk].end for chunk in song), default=0)
            if file.ticks_per_beat:
                start = -(-start // file.ticks_per_beat) * file.ticks_per_beat
        self._finish()

    def _finish(self) -> None:
        score, source = self.score, self.source
        if not self.file.ticks_per_beat:
            _seconds_to_beats(score)
        score.tempos = _clean_map(score.tempos, Tempo(0.0, DEFAULT_TEMPO))
        score.meters = _clean_map(score.meters, Meter(0.0, 4, 4))
        source.tempos, source.meters = list(score.tempos), list(score.meters)
        source.others.sort(key=lambda item: item[0])
        score.others = [item[:2] for item in source.others]
        for place in source.places:
            place.notes.sort(key=lambda item: item[0])
            place.others.sort(key=lambda item: item[0])
            track = Track(place.program, place.is_drum, place.name, channel=place.channel[1], place=place)
            track.notes = [item[0] for item in place.notes]
            track.others = [item[:2] for item in place.others]
            score.tracks.append(track)

    def _read_song(self, song: list[int], start: int) -> None:
        file, programs = self.file, self.source.programs
        cuts: dict[Channel, list[tuple[int, int]]] = defaultdict(list)  # (tick, MIDI track) of All Notes Off and kin
        for chunk in song:
            port = 0
            for tick, data in file.tracks[chunk].events:
                status = data[0] & 0xF0
                if status == 0xC0:
                    for who in (chunk,) if file.format == 2 else (chunk, None):
                        programs[who, (port, data[0] & 15)].append((tick, data[1]))
                elif status == 0xB0 and (data[1] == 120 or data[1] >= 123):
                    cuts[port, data[0] & 15].append((tick, chunk))
                elif data[0] == smf.META and data[1] == smf.PORT:
                    port = data[2]
        for said in programs.values():
            said.sort(key=lambda item: item[0])
        self._find_drums(song)
        first = len(self.source.places)
        loose: list[tuple[int, int, int, Channel | None, Any]] = []  # MIDI track, event, tick, channel, message
        for chunk in song:
            self._read_track(chunk, start, cuts, loose)
        self._share(loose, self.source.places[first:], start)

    def _find_drums(self, song: list[int]) -> None:
        """Note when the channels of a song become drums, and when they are melodies again."""
        said: list[tuple[int, int, bytes]] = []  # tick, port, message
        for chunk in song:
            port = 0
            for tick, data in self.file.tracks[chunk].events:
                if data[0] == smf.META:
                    port = data[2] if data[1] == smf.PORT else port
                elif concerns_drums(data):
                    said.append((tick, port, data))
        said.sort(key=lambda item: item[0])
        parts: dict[int, DrumParts] = defaultdict(DrumParts)
        for tick, port, data in said:
            parts[port].feed(data)
            for channel in range(16) if data[0] == smf.SYSEX else (data[0] & 15,):
                history = self.source.drums[self.source.song(song[0]), (port, channel)]
                before = history[-1][1] if history else channel == DRUM_CHANNEL
                if (now := parts[port].is_drums(channel)) != before:
                    history.append((tick, now))

    def _read_track(self, chunk: int, start: int, cuts: dict[Channel, list[tuple[int, int]]], loose: list) -> None:
        source, track, unit = self.source, self.file.tracks[chunk], self.unit
        places: dict[tuple[Channel, int, bool], Place] = {}
        sounding: dict[tuple[Channel, int], deque] = defaultdict(deque)
        name, port = '', 0

        def close(channel: Channel, key: int, end: int, off: int | None) -> None:
            place, on, onset, velocity = sounding[channel, key].popleft()
            note = Note((onset + start) / unit, (end - onset) / unit, key, velocity)
            place.notes.append((note, on, off))

        events: Any = enumerate(track.events)
        foreign = [(tick, channel) for channel, times in cuts.items() for tick, who in times if who != chunk]
        if foreign:  # another track ends the notes of a channel: that acts before what happens here at that tick
            there = sorted((tick, -1, channel) for tick, channel in foreign)
            here = ((tick, i, data) for i, (tick, data) in enumerate(track.events))
            events = ((i, (tick, data)) for tick, i, data in heapq.merge(there, here, key=lambda item: item[:2]))
        for i, (tick, data) in events:
            if i < 0:
                self._silence(data, tick, sounding, close)
                continue
            status = data[0] & 0xF0
            if status in (0x80, 0x90):
                channel, key = (port, data[0] & 15), data[1]
                if status == 0x90 and data[2]:
                    program = source.program_at(chunk, channel, tick)
                    is_drum = source.is_drum_at(chunk, channel, tick)
                    place = places.get((channel, program, is_drum))
                    if place is None:
                        place = places[channel, program, is_drum] = Place(chunk, channel, program, is_drum)
                    sounding[channel, key].append((place, i, tick, data[2]))
                elif sounding[channel, key]:
                    close(channel, key, tick, i)
            elif status in (0xA0, 0xB0, 0xD0, 0xE0):
                channel = (port, data[0] & 15)
                # A file holds few that differ, and mido is slow to read one; each event is a message of its own.
                if (fields := self._fields.get(data)) is None:
                    fields = self._fields[data] = vars(mido.Message.from_bytes(data))
                message = mido.Message.__new__(mido.Message)
                vars(message).update(fields)
                loose.append((chunk, i, tick, channel, message))
                if status == 0xB0 and (data[1] == 120 or data[1] >= 123):
                    self._silence(channel, tick, sounding, close)
            elif data[0] == smf.SYSEX and data[-1] == 0xF7 and data[1:-1].isascii():
                message = mido.Message('sysex')
                vars(message)['data'] = SysexData(data[1:-1])  # mido would look at each of a million bytes once more
                loose.append((chunk, i, tick, None, message))
            elif data[0] == smf.META:
                beat = (tick + start) / unit
                if data[1] == smf.PORT:
                    port = data[2]
                elif data[1] == smf.TRACK_NAME:
                    name = name or _text(data[2:]).strip('\x00 ')
                elif data[1] == smf.TEMPO:
                    self.score.tempos.append(Tempo(beat, 60e6 / int.from_bytes(data[2:], 'big')))
                elif data[1] == smf.METER:
                    self.score.meters.append(Meter(beat, data[2], 1 << data[3]))
                elif data[1] not in (smf.INSTRUMENT_NAME, smf.CHANNEL_PREFIX):
                    source.others.append((beat, _meta_message(data), chunk, i))
        for (channel, key), waiting in sounding.items():
            while waiting:
                close(channel, key, track.end, None)
                source.unended.append((chunk, track.end, channel, key))
        for place in places.values():
            place.name = name
            source.places.append(place)

    @staticmethod
    def _silence(channel: Channel, tick: int, sounding: dict, close: Any) -> None:
        # At the very tick where a note begins, such a message is a setting-up that was sorted in behind it.
        for (where, key), waiting in sounding.items():
            while where == channel and waiting and waiting[0][2] < tick:
                close(where, key, tick, None)

    def _share(self, loose: list, places: list[Place], start: int) -> None:
        """Give every message of a channel to the track that plays there then; without one it stays in the file."""
        by_channel: dict[Channel, list[Place]] = defaultdict(list)
        for place in places:
            by_channel[place.channel].append(place)
        for chunk, i, tick, channel, message in loose:
            beat = (tick + start) / self.unit
            if channel is None:
                found = [place for place in places if place.chunk == chunk]
            else:
                found = by_channel.get(channel, [])
                if len(found) > 1:
                    program = self.source.program_at(chunk, channel, tick)
                    sound = program, self.source.is_drum_at(chunk, channel, tick)
                    found = sorted(
                        found, key=lambda place: (place.chunk != chunk, (place.program, place.is_drum) != sound)
                    )
            if found:
                found[0].others.append((beat, message, chunk, i))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode('latin-1')


def _meta_message(data: bytes) -> Any:
    kind, payload = data[1], data[2:]
    if kind in TEXTS:
        text: Any = {'name' if kind == 9 else 'text': _text(payload)}
        return mido.MetaMessage(TEXTS[kind], **text)
    try:
        return build_meta_message(kind, list(payload))
    except (LookupError, ValueError, TypeError, mido.KeySignatureError):
        return UnknownMetaMessage(kind, list(payload))


def _seconds_to_beats(score: Score) -> None:
    """Turn what was read of a score whose times are in seconds into beats, by its tempo map (also in seconds)."""
    by_seconds = sorted({tempo.beat: tempo for tempo in score.tempos}.values()) or [Tempo(0.0, DEFAULT_TEMPO)]
    if by_seconds[0].beat > 0:
        by_seconds.insert(0, Tempo(0.0, DEFAULT_TEMPO))
    starts, beats = [tempo.beat for tempo in by_seconds], [0.0]
    for before, after in itertools.pairwise(by_seconds):
        beats.append(beats[-1] + (after.beat - before.beat) * before.tempo / 60)

    def to_beat(seconds: float) -> float:
        index = max(bisect.bisect_right(starts, seconds) - 1, 0)
        return beats[index] + (seconds - starts[index]) * by_seconds[index].tempo / 60

    def moved(note: Note) -> Note:
        begin = to_beat(note.beat)
        return note._replace(beat=begin, duration=to_beat(note.beat + note.duration) - begin)

    for place in score.source.places:
        place.notes = [(moved(note), on, off) for note, on, off in place.notes]
        place.others = [(to_beat(time), *rest) for time, *rest in place.others]
    score.tempos = [tempo._replace(beat=to_beat(tempo.beat)) for tempo in by_seconds]
    score.meters = [meter._replace(beat=to_beat(meter.beat)) for meter in score.meters]
    score.source.others = [(to_beat(time), *rest) for time, *rest in score.source.others]


def _clean_map(entries: list, default: Any) -> list:
    """Sort by beat, let the last entry at a beat win, drop repetitions, and begin at beat 0."""
    by_beat = {entry.beat: entry for entry in sorted(entries, key=lambda entry: entry.beat)}
    by_beat.setdefault(0.0, default)
    cleaned = []
    for beat in sorted(by_beat):
        if not cleaned or by_beat[beat][1:] != cleaned[-1][1:]:
            cleaned.append(by_beat[beat])
    return cleaned


# --- writing ---------------------------------------------------------------------------------------------------------


def midi_bytes(score: Score) -> bytes:
    """Return the bytes of a MIDI file.

    A score that was read gives its file again, with what was changed. A new one gives a file of type 1: a conductor
    track, then one track for each `Track`. New tracks keep the channel they want if it is free; drums are always on
    channel 10. Beyond 15 melodic tracks further MIDI ports are used, as sequencers do.
    """
    return smf.build(file_of(score))


def to_midi(score: Score) -> mido.MidiFile:
    """Return the file of `midi_bytes` as mido has it, for those who want to go on with its messages."""
    data = midi_bytes(score)
    try:
        return mido.MidiFile(file=io.BytesIO(data), charset='utf-8')
    except UnicodeDecodeError:
        return mido.MidiFile(file=io.BytesIO(data))


def write_midi(score: Score, path: str | Path) -> None:
    """Write `score` as a Standard MIDI File (see `midi_bytes`); nothing half-written is left.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    data = midi_bytes(score)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
