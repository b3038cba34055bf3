"""Windows of band music as separate stems, rendered through SoundFonts: what the live separator learns from.

Notable choices

* A *window* is `seconds` of one piece; each instrument family that sounds in it is one stem, stereo, 44.1 kHz.
  The mixture is the sum of the stems, never a separate render (they would differ by -39 dB).
* Pieces are split by a hash of their name, so a piece is in one split whatever else is rendered.
* The test split is heard through SoundFonts that no training window uses.
* One raw int16 file that is mapped into memory, and one JSON index: a window costs one seek.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mido
import numpy as np

from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError

SAMPLE_RATE = 44100  # Hz
# GM programs in eights; the query names that the training gives to each are in `QUERIES`.
FAMILIES = (
    'piano', 'mallets', 'organ', 'guitar', 'bass', 'strings', 'choir', 'brass', 'woodwinds', 'woodwinds',
    'synth lead', 'synth pad', 'synth pad', 'guitar', 'mallets', '',
)  # fmt: skip
# Programs in the middle of an eight that belong elsewhere; '' is left out.
_EXCEPTIONS = {43: 'bass', 47: 'drums', 52: 'choir', 53: 'choir', 54: 'choir', 55: '', 46: 'guitar', 110: 'strings',
               109: 'woodwinds', 111: 'woodwinds'}  # fmt: skip
_NEVER_SWAPPED = ('drums', 'choir')


def family_of(program: int, channel: int) -> str:
    """Return the stem that a General MIDI program on a MIDI channel belongs to, or '' for none."""
    if channel == 9:
        return 'drums'
    family = _EXCEPTIONS.get(program, FAMILIES[program // 8])
    return 'strings' if family == 'choir' and program not in (52, 53, 54) else family


def split_of(name: str) -> str:
    """Return 'train', 'valid' or 'test' for a piece's name: 80, 8 and 12 in a hundred."""
    place = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100
    return 'train' if place < 80 else 'valid' if place < 88 else 'test'


def read_events(path: Path) -> list[tuple[float, mido.Message]]:
    """Return the channel messages of a MIDI file with their times in seconds.

    Raises
    ------
    GenaudioError
        If the file is no readable MIDI file.
    """
    try:
        midi = mido.MidiFile(path, clip=True)
        events, now, tempo = [], 0.0, 500_000
        for message in mido.merge_tracks(midi.tracks):
            now += mido.tick2second(message.time, midi.ticks_per_beat, tempo)
            if message.type == 'set_tempo':
                tempo = message.tempo
            elif not message.is_meta and hasattr(message, 'channel'):
                events.append((now, message))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise GenaudioError(f'{path} is no readable MIDI file: {error}.') from error
    return events


class Renderer:
    """Renders the stems of a window through one of several SoundFonts.

    Parameters
    ----------
    soundfonts
        Paths of .sf2 or .sf3 files; each is loaded once (1-6 s for the large ones).
    """

    def __init__(self, soundfonts: Sequence[Path | str]):
        import tinysoundfont  # its wheel is an extra of the training side

        self.synth = tinysoundfont.Synth(gain=-9, samplerate=SAMPLE_RATE)
        self.fonts = {Path(path).stem: self.synth.sfload(str(path), max_voices=160) for path in soundfonts}

    def window(
        self, events: list[tuple[float, mido.Message]], start: float, seconds: float, font: str, rng: np.random.Generator
    ) -> dict[str, tuple[np.ndarray, list[int]]]:
        """Return family -> (audio of shape (2, samples), programs heard) of the families that sound.

        One transposition for the window (drums stay), and now and then another program of the same family.
        """
        semitones = int(rng.integers(-4, 5))
        swaps: dict[int, int] = {}
        program = [0] * 16
        by_family: dict[str, list[tuple[float, mido.Message, int]]] = {}
        for when, message in events:
            if when >= start + seconds:
                break
            channel = message.channel
            if message.type == 'program_change':
                program[channel] = message.program
                continue
            playing = program[channel]
            family = family_of(playing, channel)
            if playing not in swaps:
                same = [p for p in range(112) if family_of(p, 0) == family] if family not in _NEVER_SWAPPED else []
                swaps[playing] = int(rng.choice(same)) if same and rng.random() < 0.5 else playing
            if message.type not in ('note_on', 'note_off', 'control_change', 'pitchwheel'):
                continue
            by_family.setdefault(family, []).append((when, message, playing if channel == 9 else swaps[playing]))
        by_family.pop('', None)
        return {
            family: rendered
            for family, wanted in by_family.items()
            if (rendered := self._stem(family, wanted, start, seconds, font, semitones)) is not None
        }

    def _stem(self, family, wanted, start, seconds, font, semitones):
        lead_in = 1.5  # seconds of notes before the window whose tails belong in it
        notes = [when for when, message, _ in wanted if message.type == 'note_on' and message.velocity]
        if not any(start - lead_in <= when < start + seconds for when in notes):
            return None
        synth, now, programs, current = self.synth, start - lead_in, set(), {}
        synth.sounds_off()
        for channel in range(16):
            synth.control_change(channel, 121, 0)
            synth.control_change(channel, 7, 100)
            synth.control_change(channel, 10, 64)
            synth.pitchbend(channel, 8192)
        pieces: list[np.ndarray] = []
        sounding: set[tuple[int, int]] = set()
        for when, message, program in wanted:
            channel = message.channel
            if when > now:
                count = round((when - now) * SAMPLE_RATE)
                if count:
                    pieces.append(self._generate(count))
                    now += count / SAMPLE_RATE
            if message.type == 'control_change':
                if message.control in (1, 7, 10, 11, 64, 6, 38, 100, 101):
                    synth.control_change(channel, message.control, message.value)
            elif message.type == 'pitchwheel':
                synth.pitchbend(channel, message.pitch + 8192)
            elif when >= start - lead_in:
                key = message.note if channel == 9 else message.note + semitones
                if not 0 <= key <= 127:
                    continue
                if message.type == 'note_on' and message.velocity:
                    if current.get(channel) != program:
                        self._select(channel, font, program, channel == 9)
                        current[channel] = program
                    programs.add(program)
                    sounding.add((channel, key))
                    synth.noteon(channel, key, message.velocity)
                elif (channel, key) in sounding:
                    sounding.discard((channel, key))
                    synth.noteoff(channel, key)
        rest = round((start + seconds - now) * SAMPLE_RATE)
        if rest > 0:
            pieces.append(self._generate(rest))
        audio = np.concatenate(pieces, axis=1)[:, -round(seconds * SAMPLE_RATE):]
        if np.sqrt(np.mean(audio**2)) < 1e-3:
            return None
        return audio, sorted(programs)

    def _select(self, channel: int, font: str, program: int, is_drums: bool) -> None:
        sfid = self.fonts[font]
        for bank, preset in ((128, program), (128, 0)) if is_drums else ((0, program),):
            if self.synth.sfpreset_name(sfid, min(bank, 127), preset) is not None or is_drums:
                try:
                    self.synth.program_select(channel, sfid, 0 if is_drums else bank, preset, is_drums)
                    return
                except (RuntimeError, ValueError):
                    continue

    def _generate(self, count: int) -> np.ndarray:
        buffer = self.synth.generate(count)
        return np.frombuffer(bytes(buffer), np.float32).reshape(-1, 2).T


def render_bands(
    folders: Sequence[Path], out: Path, *, train_fonts: Sequence[Path], test_fonts: Sequence[Path],
    seconds: float = 8.0, per_minute: float = 2.0, seed: int = 1,
) -> dict[str, Any]:
    """Render windows of all MIDI files under `folders` into ``out/audio.i16`` and ``out/index.json``.

    Windows of the test split use `test_fonts`, all others `train_fonts`. The index is written again after every
    piece, so a reader may start, and a broken run keeps what it has.

    Returns
    -------
    dict
        Counts by split.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for folder in folders for path in folder.rglob('*.mid'))
    if not paths:
        raise GenaudioError(f'No .mid files under {", ".join(map(str, folders))}.')
    rng = np.random.default_rng(seed)
    rng.shuffle(paths)  # pyright: ignore[reportArgumentType]
    renderer = Renderer([*train_fonts, *test_fonts])
    samples = round(seconds * SAMPLE_RATE)
    stems: list[dict[str, Any]] = []
    counts = {'train': 0, 'valid': 0, 'test': 0}
    with (out / 'audio.i16').open('wb') as audio_file:
        for n, path in enumerate(paths):
            try:
                events = read_events(path)
            except GenaudioError as error:
                notice(str(error))
                continue
            name = f'{path.parent.name}/{path.stem}'
            split = split_of(name)
            own = np.random.default_rng(zlib.crc32(name.encode()) + seed)
            for start in _starts(events, seconds, per_minute, own):
                font = Path(own.choice([str(f) for f in (test_fonts if split == 'test' else train_fonts)])).stem
                rendered = renderer.window(events, start, seconds, font, own)
                if len(rendered) < 2:
                    continue
                # One gain for the window: the parts keep the balance that the composer gave them.
                peak = max(float(np.abs(audio).max()) for audio, _ in rendered.values())
                window = f'{name}@{start:.2f}'
                for family, (audio, programs) in rendered.items():
                    block = np.round(audio * (0.7 / peak) * 32767).astype('<i2')
                    stems.append({
                        'window': window, 'piece': name, 'split': split, 'font': font, 'family': family,
                        'programs': programs, 'offset': audio_file.tell(),
                    })  # fmt: skip
                    audio_file.write(block.tobytes())
                counts[split] += 1
            audio_file.flush()
            index = {'sample_rate': SAMPLE_RATE, 'samples': samples, 'channels': 2, 'stems': stems}
            (out / 'index.tmp').write_text(json.dumps(index))
            (out / 'index.tmp').replace(out / 'index.json')
            if n % 10 == 9:
                notice(f'{n + 1}/{len(paths)} pieces, {len(stems)} stems')
    return counts


def _starts(events, seconds: float, per_minute: float, rng: np.random.Generator) -> Iterator[float]:
    notes = [when for when, message in events if message.type == 'note_on' and message.velocity]
    if len(notes) < 20:
        return
    first, last = notes[0], notes[-1]
    wanted = max(1, round((last - first) / 60 * per_minute))
    for _ in range(min(wanted, 12)):
        yield float(rng.uniform(first, max(first + 0.1, last - seconds)))


class Bands:
    """Reads what `render_bands` wrote.

    Raises
    ------
    GenaudioError
        If the folder holds no index.
    """

    def __init__(self, folder: Path):
        index_path = folder / 'index.json'
        if not index_path.exists():
            raise GenaudioError(f'{folder} holds no rendered bands (index.json is missing).')
        index = json.loads(index_path.read_text())
        self.sample_rate: int = index['sample_rate']
        self.samples: int = index['samples']
        self.stems: list[dict[str, Any]] = index['stems']
        self._audio = np.memmap(folder / 'audio.i16', '<i2', 'r')
        self.windows: dict[str, list[int]] = {}
        for i, stem in enumerate(self.stems):
            self.windows.setdefault(stem['window'], []).append(i)

    def select(self, split: str) -> list[int]:
        """Return the numbers of the stems of a split."""
        return [i for i, stem in enumerate(self.stems) if stem['split'] == split]

    def audio(self, i: int, start: int = 0, count: int | None = None) -> np.ndarray:
        """Return stem `i`, float32 of shape (2, count), from sample `start`."""
        count = self.samples - start if count is None else count
        base = self.stems[i]['offset'] // 2
        rows = [self._audio[base + c * self.samples + start : base + c * self.samples + start + count] for c in (0, 1)]
        return np.stack(rows).astype(np.float32) / 32767
