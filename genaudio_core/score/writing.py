"""The MIDI file of a score: a new one, or the one it was read from with what was changed.

A score that was read is compared with what was read. What is gone from it is taken out of the file, what is new is put
in, and all other events keep their bytes, their order and their ticks.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mido import Message

from genaudio_core.score import smf
from genaudio_core.score.drum_parts import DRUM_CHANNEL
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.source import TEXTS, Channel, Place, Source

# Order of what is new within one tick: ends before what is there, beginnings after it. A repeated key sounds again, and
# a note of no length ends after it began.
_END, _NAME, _PORT, _THERE, _BANK, _PROGRAM, _OTHER, _BEGIN, _END_AT_ONCE = range(-3, 6)
_COARSE = 24  # ticks to the beat below which new notes would fall beside their time; such a file gets finer ticks

_New = tuple[int, int, bytes]  # tick, order, data of an event


def file_of(score: Score) -> smf.File:
    """Return the file of `score`; see `reading.midi_bytes`."""
    if score.source is None:
        file = smf.File(1, score.ticks_per_beat, [smf.TrackChunk()])
        writing = _Writing(score, Source(file, [0]))
        writing.add_map()
    else:
        writing = _Writing(score, score.source)
        writing.change()
    writing.add_tracks([track for track in score.tracks if not writing.is_in_place(track)])
    return writing.file()


class _Writing:
    """Changes that are being made to a file."""

    def __init__(self, score: Score, source: Source):
        self.score, self.source = score, source
        self.dropped: dict[int, set[int]] = defaultdict(set)  # MIDI track -> numbers of events
        self.new: dict[int, list[_New]] = defaultdict(list)
        self.appended: list[list[_New]] = []  # whole MIDI tracks
        self.overflow: list[tuple[Place, list[Note]]] = []  # notes that the channel of a place cannot play
        self.homes: dict[int, Track] = {}  # number of a place -> the track that is still there
        numbers = {id(place): number for number, place in enumerate(source.places)}
        for track in score.tracks:
            place: Place | None = track.place
            number = numbers.get(id(place))
            if place is None or number is None:
                continue
            same = (track.program, track.channel) == (place.program, place.channel[1])
            if same and track.is_drum == place.is_drum:
                self.homes.setdefault(number, track)
        self._port_changes = [
            [event for event in track.events if event.data[0] == smf.META and event.data[1] == smf.PORT]
            for track in source.file.tracks
        ]
        self._in_place = {id(track) for track in self.homes.values()}
        division = source.file.ticks_per_beat
        self.finer = -(-2 * _COARSE // division) if 0 < division < _COARSE and self._has_new_notes() else 1
        self.division = division * self.finer

    def _has_new_notes(self) -> bool:
        known = {note for place in self.source.places for note, _, _ in place.notes}
        return any(note not in known for track in self.score.tracks for note in track.notes)

    def is_in_place(self, track: Track) -> bool:
        return id(track) in self._in_place

    # --- time

    def tick(self, beat: float, chunk: int) -> int:
        """Tick of a beat in a MIDI track, in the ticks that are written."""
        if self.division:
            tick = round(beat * self.division)
        else:
            tick = round(self.score.seconds_at(beat) * self.source.file.ticks_per_second)
        return max(tick - self.source.starts[chunk] * self.finer, 0)

    def song_at(self, beat: float, chunk: int) -> int:
        """MIDI track whose time `beat` is in: `chunk` itself, except in files of type 2."""
        if self.source.file.format != 2:
            return chunk
        if self.division:
            tick = round(beat * self.source.file.ticks_per_beat)
        else:
            tick = round(self.score.seconds_at(beat) * self.source.file.ticks_per_second)
        return max((i for i, start in enumerate(self.source.starts) if start <= tick), default=0)

    # --- what is new

    def _add(self, chunk: int, beat: float, order: int, data: bytes) -> None:
        self.new[chunk].append((self.tick(beat, chunk), order, data))

    def _note(self, chunk: int, channel: int, note: Note) -> list[_New]:
        begin, end = self.tick(note.beat, chunk), self.tick(note.beat + note.duration, chunk)
        starts = self.source.starts
        if self.source.file.format == 2 and chunk + 1 < len(starts):  # a longer song would move those after it
            end = min(end, max((starts[chunk + 1] - starts[chunk]) * self.finer, begin))
        on, off = bytes((0x90 | channel, note.note, note.velocity)), bytes((0x80 | channel, note.note, 64))
        return [(begin, _BEGIN, on), (end, _END if end > begin else _END_AT_ONCE, off)]

    def add_map(self, tempos: bool = True, meters: bool = True) -> None:
        """Write the tempo and meter map, and what belongs to no track, into the first MIDI track."""
        for meter in self.score.meters if meters else ():
            form = bytes((meter.numerator & 255, meter.denominator.bit_length() - 1, 24, 8))
            self._add(0, meter.beat, _NAME, bytes((smf.META, smf.METER)) + form)
        for beat, tempo in self.score.tempos if tempos else ():
            length = max(min(round(60e6 / tempo), 0xFFFFFF), 1)
            self._add(0, beat, _PORT, bytes((smf.META, smf.TEMPO)) + length.to_bytes(3, 'big'))
        if self.source.file is not getattr(self.score.source, 'file', None):
            for beat, message in self.score.others:
                self._add(0, beat, _OTHER, data_of(message))

    # --- changes

    def change(self) -> None:
        """Take out of the file what is gone from the score, and put in what its tracks have got."""
        source, score = self.source, self.score
        for number, place in enumerate(source.places):
            track = self.homes.get(number)
            self._change_notes(place, track.notes if track else [])
            self._change_others(place.others, track.others if track else [], place)
            if track and track.name != place.name:
                self._rename(place.chunk, track.name)
        self._change_others(source.others, score.others, None)
        for kind, now, before in ((smf.TEMPO, score.tempos, source.tempos), (smf.METER, score.meters, source.meters)):
            if now != before:
                self._drop_meta(kind)
                self.add_map(tempos=kind == smf.TEMPO, meters=kind == smf.METER)

    def _change_notes(self, place: Place, notes: list[Note]) -> None:
        wanted = Counter(notes)
        for note, on, off in place.notes:
            if wanted[note] > 0:
                wanted[note] -= 1
            else:
                self.dropped[place.chunk].update((on,) if off is None else (on, off))
        elsewhere = []
        for note in (+wanted).elements():
            begin, end = (self.tick(beat, place.chunk) for beat in (note.beat, note.beat + note.duration))
            tick = begin // self.finer
            there = self.song_at(note.beat, place.chunk) == place.chunk
            there = there and self._ports(place.chunk, tick, end // self.finer) == {place.channel[0]}
            # A program change may have come since: then the notes cannot be here.
            there = there and self.source.is_drum_at(place.chunk, place.channel, tick) == place.is_drum
            if there and self.source.program_at(place.chunk, place.channel, tick) == place.program:
                self.new[place.chunk] += self._note(place.chunk, place.channel[1], note)
            else:
                elsewhere.append(note)
        if elsewhere:
            self.overflow.append((place, elsewhere))

    def _ports(self, chunk: int, begin: int, end: int) -> set[int]:
        """The ports of a MIDI track from one tick of the file to another."""
        port, ports = 0, set()
        for event in self._port_changes[chunk]:
            if event.tick > begin:
                ports.add(port)
            if event.tick > end:
                break
            port = event.data[2]
        return ports | {port}

    def _change_others(self, before: list[tuple[float, Any, int, int]], now: list, place: Place | None) -> None:
        left = {id(message): beat for beat, message in now}
        for beat, message, chunk, event in before:
            if left.get(id(message)) == beat:
                del left[id(message)]
            else:
                self.dropped[chunk].add(event)
        for beat, message in now:
            if id(message) in left:
                chunk = self.song_at(beat, place.chunk if place else 0)
                self._add(chunk, beat, _OTHER, data_of(message, place.channel[1] if place else 0))

    def _rename(self, chunk: int, name: str) -> None:
        for i, event in enumerate(self.source.file.tracks[chunk].events):
            if event.data[:2] == bytes((smf.META, smf.TRACK_NAME)):
                self.dropped[chunk].add(i)
        self.new[chunk].append((0, _NAME, bytes((smf.META, smf.TRACK_NAME)) + name.encode()))

    def _drop_meta(self, kind: int) -> None:
        for chunk, track in enumerate(self.source.file.tracks):
            self.dropped[chunk].update(i for i, e in enumerate(track.events) if e.data[:2] == bytes((smf.META, kind)))

    # --- tracks

    def add_tracks(self, tracks: list[Track]) -> None:
        """Add new tracks, and those for notes that the channels of the old ones cannot play."""
        moved = []
        for place, notes in self.overflow:
            moved.append(Track(place.program, place.is_drum, place.name, notes, others=self._banks(place)))
        tracks = [*moved, *tracks]
        unusual = self.source.unusual()
        used = self._used() | set(unusual)  # no melody on what is drums, be it without a note yet
        kit = (0, DRUM_CHANNEL)
        if kit in unusual:  # it was made a melody
            kit = next((channel for channel in sorted(unusual) if unusual[channel]), kit)
        for track, channel in zip(tracks, channels(tracks, used, kit), strict=True):
            # The user's drum kit stays the one they chose.
            self._add_track(track, channel, program=not (track.is_drum and kit in used))

    def _used(self) -> set[Channel]:
        used: set[Channel] = set()
        for chunk, track in enumerate(self.source.file.tracks):
            port = 0
            for i, (_, data) in enumerate(track.events):
                if data[0] == smf.META and data[1] == smf.PORT:
                    port = data[2]
                elif data[0] < 0xF0 and i not in self.dropped[chunk]:
                    # In a file of type 2 new notes take the port of their song, whichever it is.
                    used.add((0 if self.source.file.format == 2 else port, data[0] & 15))
        return used

    def _banks(self, place: Place) -> list[tuple[float, Any]]:
        """The bank that a place's program was chosen from, as messages at its beginning."""
        banks: dict[int, int] = {}
        for _, data in self.source.file.tracks[place.chunk].events:
            if data[0] == 0xB0 | place.channel[1] and data[1] in (0, 32):
                banks[data[1]] = data[2]
            elif data[:2] == bytes((0xC0 | place.channel[1], place.program)):
                break
        else:
            return []
        return [(0.0, Message('control_change', control=control, value=value)) for control, value in banks.items()]

    def _add_track(self, track: Track, channel: Channel, program: bool) -> None:
        file = self.source.file
        port, number = channel
        # One track holds all, unless it would have to change ports for it.
        one = file.format == 0 and port == 0 and bool(file.tracks) and self._ports(0, 0, file.tracks[0].end) == {0}
        if file.format == 2 or one:
            songs = {self.song_at(note.beat, 0) for note in track.notes} | {
                self.song_at(beat, 0) for beat, _ in track.others
            }
            for chunk in songs:
                notes = [note for note in track.notes if self.song_at(note.beat, 0) == chunk]
                others = [(beat, message) for beat, message in track.others if self.song_at(beat, 0) == chunk]
                self.new[chunk] += self._events(track, number, chunk, notes, others, program)
            return
        if not self.source.starts:
            self.source.starts.append(0)
        head: list[_New] = []
        if track.name:
            head.append((0, _NAME, bytes((smf.META, smf.TRACK_NAME)) + track.name.encode()))
        if port:
            head.append((0, _PORT, bytes((smf.META, smf.PORT, port & 127))))
        self.appended.append(head + self._events(track, number, 0, track.notes, track.others, program))

    def _events(
        self, track: Track, channel: int, chunk: int, notes: list[Note], others: list, program: bool
    ) -> list[_New]:
        events: list[_New] = [(0, _PROGRAM, bytes((0xC0 | channel, track.program)))] if program else []
        for beat, message in others:
            tick, data = self.tick(beat, chunk), data_of(message, channel)
            is_bank = data[0] & 0xF0 == 0xB0 and data[1] in (0, 32)
            events.append((tick, _BANK if is_bank else _OTHER, data))
        for note in notes:
            events += self._note(chunk, channel, note)
        return events

    # --- the file

    def file(self) -> smf.File:
        """The changed file; the one that was read stays as it was."""
        old = self.source.file
        if any(self.new.values()) or self.appended:
            # A key that was never let go, and so ended with its file, must not sound on in what follows.
            for chunk, end, channel, key in self.source.unended:
                off = [bytes((0x80 | channel[1], key, 64))]
                (port,) = self._ports(chunk, end, end)
                if port != channel[0]:  # the track has changed its port since
                    off = [bytes((smf.META, smf.PORT, channel[0])), *off, bytes((smf.META, smf.PORT, port))]
                self.new[chunk] += [(end * self.finer, _BANK, data) for data in off]
        tracks = []
        for chunk, track in enumerate(old.tracks):
            there = (
                (tick * self.finer, _THERE, data)
                for i, (tick, data) in enumerate(track.events) if i not in self.dropped[chunk]
            )  # fmt: skip
            tracks.append(_chunk([*there, *self.new[chunk]], track.end * self.finer))
        tracks += [_chunk(events, 0) for events in self.appended]
        kind = 1 if old.format == 0 and len(tracks) > 1 else old.format
        return replace(old, format=kind, division=self.division or old.division, tracks=tracks)


def _chunk(events: Iterable[_New], end: int) -> smf.TrackChunk:
    ordered = sorted(events, key=lambda event: event[:2])  # stable: equal entries keep their order
    last = ordered[-1][0] if ordered else 0
    return smf.TrackChunk([smf.Event(tick, data) for tick, _, data in ordered], max(end, last))


def data_of(message: Any, channel: int = 0) -> bytes:
    """Bytes of a mido message as `smf.Event` has them; messages of a channel go to `channel` (0..15)."""
    if message.is_meta:
        names = {name: kind for kind, name in TEXTS.items()} | {'track_name': smf.TRACK_NAME, 'instrument_name': 4}
        if message.type in names:
            text = message.name if 'name' in message.type else message.text
            return bytes((smf.META, names[message.type])) + text.encode()
        raw = bytes(message.bytes())
        begin = 2 + next(i for i in itertools.count() if raw[2 + i] < 128) + 1  # behind the length
        return raw[:2] + raw[begin:]
    if message.type == 'sysex':
        return bytes((smf.SYSEX, *message.data, smf.SYSEX_MORE))
    return bytes(message.copy(channel=channel).bytes() if hasattr(message, 'channel') else message.bytes())


def channels(
    tracks: list[Track], used: Iterable[Channel] = (), kit: Channel = (0, DRUM_CHANNEL)
) -> list[Channel]:  # fmt: skip
    """(port, channel) for each track; `used` are those that are taken already, drums go to `kit`."""
    taken = set(used)
    result: list[Channel | None] = [None] * len(tracks)
    for i, track in enumerate(tracks):
        if track.is_drum:
            result[i] = kit  # drum tracks may share: a kit has one program
        elif track.channel is not None and track.channel != DRUM_CHANNEL and (0, track.channel) not in taken:
            result[i] = (0, track.channel)
            taken.add((0, track.channel))
    for i in range(len(tracks)):
        if result[i] is None:
            place = next(
                (port, channel)
                for port in itertools.count()
                for channel in range(16)
                if channel != DRUM_CHANNEL and (port, channel) not in taken
            )
            result[i] = place
            taken.add(place)
    return [place for place in result if place is not None]
