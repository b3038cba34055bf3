"""Notes into sound: through a SoundFont (fluidsynth), or through an instrument plug-in.

fluidsynth (LGPL; Debian's libfluidsynth3, Python package pyfluidsynth, extra `compose`) starts notes on blocks of 64
samples, 1.5 ms. pedalboard (GPLv3) hosts plug-ins; both are imported inside the functions.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import c_float, c_int, c_void_p
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import check_readable
from genaudio_core.score.notes import Score

SAMPLE_RATE = 44100
FOLDERS = tuple(
    Path(folder) for folder in ('/usr/share/sounds/sf2', '/usr/share/sounds/sf3', '/usr/share/soundfonts',
                                '~/.local/share/sounds/sf2', '~/.local/share/soundfonts')
)  # fmt: skip
PREFERRED = ('FluidR3_GM', 'MuseScore_General', 'MuseScore_General_Lite', 'FluidR3Mono_GM', 'default-GM')
PACKAGE = 'fluid-soundfont-gm'  # Debian's; MIT licence
MIDI_SUFFIXES = ('.mid', '.midi')
DRUM_BANK = 128
_MELODIC = [channel for channel in range(16) if channel != 9]


class PlayedNote(NamedTuple):
    """One note of a performance."""

    start: float  # seconds
    end: float  # seconds
    note: int  # 0..127
    velocity: int  # 1..127


def find_font(file_name: str, package: str = '') -> Path:
    """Return the path of an installed SoundFont.

    Raises
    ------
    GenaudioError
        If it is not installed; the message names the Debian package.
    """
    for folder in FOLDERS:
        if (path := folder.expanduser() / file_name).is_file():
            return path
    raise GenaudioError(f'The SoundFont {file_name} is missing. Install it: apt-get install {package}')


def any_font(folders: Sequence[Path] = FOLDERS) -> Path:
    """Return the best General MIDI SoundFont that is installed.

    Raises
    ------
    GenaudioError
        If there is none.
    """
    found = [p for folder in folders for p in sorted(folder.expanduser().glob('*.sf[23]'))]
    if not found:
        raise GenaudioError(
            f'No SoundFont is installed, and music needs one: apt-get install {PACKAGE}, or `FontRenderer(PATH)`.'
        )
    order = {name: place for place, name in enumerate(PREFERRED)}
    return min(found, key=lambda p: order.get(p.stem, len(order)))


def check_font(path: Path) -> Path:
    """Return `path` if it is a SoundFont file and all of it is there.

    Raises
    ------
    GenaudioError
        If it is missing, something else, or cut off.
    """
    parts = []
    try:
        with open(check_readable(path, 'SoundFont'), 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            while len(chunk := file.read(12)) == 12:
                end = file.tell() - 4 + int.from_bytes(chunk[4:8], 'little')
                if end > size:
                    break
                parts.append(chunk[8:])
                file.seek(end)
                if end % 2 and file.read(1) == b'L':  # MuseScore's .sf3 lack the byte that makes a part even
                    file.seek(end)
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        reason = getattr(error, 'strerror', None) or error
        raise GenaudioError(f'Cannot read the SoundFont {path}: {reason}.') from error
    if head[:4] != b'RIFF' or head[8:] != b'sfbk':
        raise GenaudioError(f'{path} is not a SoundFont (.sf2 or .sf3).')
    if not {b'INFO', b'sdta', b'pdta'} <= set(parts):  # fluidsynth would say it in several lines of its own
        raise GenaudioError(f'{path} is a damaged SoundFont: a part of it is missing. Get it again, or give another.')
    return path


def load_fluidsynth() -> Any:
    """Return the module `fluidsynth`.

    Raises
    ------
    GenaudioError
        If package or library are missing.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where CI is set it prints which library it found
            import fluidsynth
    except ModuleNotFoundError:
        raise GenaudioError("Music needs the package pyfluidsynth: pip install 'genaudio[compose]'.") from None
    except ImportError:  # the package is there, the library is not
        raise GenaudioError('Music needs the library fluidsynth: apt-get install libfluidsynth3.') from None
    return fluidsynth


def load_font(synth: Any, path: str | Path) -> int:
    """Load a SoundFont into a synthesizer and return its number there.

    Raises
    ------
    GenaudioError
        If it is missing, something else, or damaged.
    """
    check_font(Path(path))
    log: Any = load_fluidsynth().cfunc(
        'fluid_set_log_function', c_void_p, ('level', c_int, 1), ('function', c_void_p, 1), ('data', c_void_p, 1)
    )
    levels = range(3)  # panic, error, warning: of a damaged font fluidsynth says as much in several lines of its own
    before = [log(level, None, None) for level in levels]
    try:
        number = synth.sfload(str(path))
    finally:
        for level, function in zip(levels, before, strict=True):
            log(level, function, None)
    if number < 0:
        raise GenaudioError(f'{path} is not a SoundFont that fluidsynth can read, or it is damaged; give another.')
    return number


def silence(synth: Any) -> None:
    """Reset a synthesizer so that nothing rings on: fluidsynth 2.3 goes on sounding through a reset by itself."""
    synth.all_sounds_off(-1)
    synth.get_samples(128)  # two blocks: the one under way, and the fade; a reset before it would undo the above
    synth.system_reset()


def render_events(synth: Any, events: Iterable[tuple[int, Callable[[], Any]]], n_samples: int) -> np.ndarray:
    """Return float32 (2, n_samples) of a synthesizer to which (sample, action) events happen, in their order."""
    position, parts = 0, []
    for sample, act in events:
        if (until := min(sample, n_samples)) > position:
            parts.append(synth.get_samples(until - position))
            position = until
        act()
    if position < n_samples:
        parts.append(synth.get_samples(n_samples - position))
    if not parts:
        return np.zeros((2, 0), np.float32)
    return np.concatenate(parts).reshape(-1, 2).T.astype(np.float32) / 32768


class Generators:
    """Moves the generators (SoundFont 2.04, section 8.1.2) of a synthesizer's channels.

    A reset of the synthesizer leaves them moved, so whatever a move does not name goes back to where the font has it.
    """

    def __init__(self, synth: Any):
        self._synth = synth
        self._set: Any = load_fluidsynth().cfunc(
            'fluid_synth_set_gen', c_int, ('synth', c_void_p, 1), ('channel', c_int, 1), ('generator', c_int, 1),
            ('value', c_float, 1),
        )  # fmt: skip
        self._moved: dict[int, set[int]] = {}

    def move(self, channel: int, by: Mapping[int, float]) -> None:
        """Move the generators of a channel away from the font's, by generator number, in the units of the standard."""
        for generator in self._moved.get(channel, set()) | set(by):
            self._set(self._synth.synth, channel, generator, by.get(generator, 0.0))
        self._moved[channel] = set(by)


class FontSampler:
    """Plays notes through one SoundFont. Not thread-safe; `close` frees the synthesizer."""

    def __init__(self, path: str | Path, sample_rate: int = SAMPLE_RATE, *, gain: float = 0.4, reverb: bool = False):
        self.sample_rate = sample_rate
        # Rooms are the caller's work by default: fluidsynth's own would sound the same in every training clip.
        self._fluid = load_fluidsynth().Synth(gain=gain, samplerate=float(sample_rate), **{
            'synth.reverb.active': int(reverb), 'synth.chorus.active': 0, 'synth.dynamic-sample-loading': 1,
            'synth.threadsafe-api': 0,
        })  # fmt: skip
        try:
            self._font = load_font(self._fluid, path)
        except GenaudioError:
            self._fluid.delete()
            raise
        self._generators = Generators(self._fluid)

    def close(self) -> None:
        """Let go of the synthesizer."""
        self._fluid.delete()

    def play(
        self,
        notes: Sequence[PlayedNote],
        program: int,
        is_drum: bool,
        seconds: float,
        *,
        generators: Mapping[int, float] = MappingProxyType({}),
    ) -> np.ndarray:
        """Return float32 (2, n_samples) of the notes on one program; ringing notes are cut at the end.

        `generators` are moved by so much (see `Generators`).
        """
        channel = 9 if is_drum else 0
        silence(self._fluid)
        self._generators.move(channel, generators)
        self._fluid.program_select(channel, self._font, DRUM_BANK if is_drum else 0, program)
        # At one instant a key is let go before it is struck again, or the new note would be cut at birth.
        events: list[tuple[float, int, Callable[[], Any]]] = []
        for n in notes:
            events.append((n.start, 1, lambda n=n: self._fluid.noteon(channel, n.note, n.velocity)))
            events.append((n.end, 0, lambda n=n: self._fluid.noteoff(channel, n.note)))
        return self._run(events, int(seconds * self.sample_rate))

    def play_score(self, score: Score, n_samples: int) -> np.ndarray:
        """Return float32 (2, n_samples) of all tracks, with their pedals, controllers and bends."""
        fluid = self._fluid
        silence(fluid)
        for channel in range(16):
            self._generators.move(channel, {})
        events: list[tuple[float, int, Callable[[], Any]]] = []
        channels: dict[int, int] = {}  # program -> channel: tracks of one program share theirs
        for track in score.tracks:
            if track.is_drum:
                channel = 9
            else:
                channel = channels.setdefault(track.program, _MELODIC[len(channels) % len(_MELODIC)])
            fluid.program_select(channel, self._font, DRUM_BANK if track.is_drum else 0,
                                 0 if track.is_drum else track.program)  # fmt: skip
            for n in track.notes:
                start, end = score.seconds_at(n.beat), score.seconds_at(n.beat + n.duration)
                events.append((start, 2, lambda n=n, c=channel: fluid.noteon(c, n.note, n.velocity)))
                events.append((max(end, start + 0.02), 0, lambda n=n, c=channel: fluid.noteoff(c, n.note)))
            for beat, message in track.others:
                if message.type == 'control_change':
                    change = lambda m=message, c=channel: fluid.cc(c, m.control, m.value)  # noqa: E731
                elif message.type == 'pitchwheel':
                    change = lambda m=message, c=channel: fluid.pitch_bend(c, m.pitch)  # noqa: E731
                else:
                    continue
                events.append((score.seconds_at(beat), 1, change))
        return self._run(events, n_samples)

    def _run(self, events: list[tuple[float, int, Callable[[], Any]]], n_total: int) -> np.ndarray:
        """Render what (seconds, rank at one instant, action) events sound like."""
        placed = [(int(time * self.sample_rate), act) for time, _, act in sorted(events, key=lambda event: event[:2])]
        return render_events(self._fluid, [event for event in placed if event[0] < n_total], n_total)


class Renderer(Protocol):
    """Plays a score."""

    def fault(self) -> str:
        """Return why it cannot, or an empty text."""
        ...

    def left_out(self, score: Score) -> str:
        """Return what it does not play of a score, to be told behind what it plays; or an empty text."""
        ...

    def render(self, score: Score, n_samples: int) -> np.ndarray:
        """Return float32 (2, n_samples) at 44.1 kHz."""
        ...


class FontRenderer(Renderer):
    """Through a SoundFont: the one given, or the best that is installed."""

    def __init__(self, path: str | Path | None = None, folders: Sequence[Path] = FOLDERS):
        self._path, self._folders = path, folders
        self._fault: str | None = None

    @property
    def path(self) -> Path:
        """The SoundFont; raises GenaudioError where there is none."""
        return Path(self._path).expanduser() if self._path else any_font(self._folders)

    def fault(self) -> str:
        if self._fault is None:
            try:
                load_fluidsynth()
                # A file may say that it is a SoundFont and be cut short: it is opened as for playing.
                FontSampler(check_font(self.path)).close()
                self._fault = ''
            except GenaudioError as error:
                self._fault = str(error)
        return self._fault

    def left_out(self, score: Score) -> str:
        return ''

    def render(self, score: Score, n_samples: int) -> np.ndarray:
        """Return a score as sound, float32 (2, n_samples) at 44.1 kHz."""
        gain = 0.3
        while True:
            sampler = FontSampler(self.path, gain=gain, reverb=True)
            try:
                audio = sampler.play_score(score, n_samples)
            finally:
                sampler.close()
            # fluidsynth hands over 16 bits: a loud tutti is played again, softer, rather than clipped.
            if gain < 0.01 or not audio.size or float(np.abs(audio).max()) < 0.99:
                return audio
            gain /= 2


class PluginRenderer(Renderer):
    """Through one instrument plug-in (VST3, AU), which plays every track but the drums'."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._plugin: Any = None

    def fault(self) -> str:
        try:
            self._load()
        except GenaudioError as error:
            return str(error)
        return ''

    def left_out(self, score: Score) -> str:
        n = sum(len(track.notes) for track in score.tracks if track.is_drum)
        return f'; {n} notes of drums are left out, which a plug-in does not play' if n else ''

    def _load(self) -> Any:
        if self._plugin is None:
            import re

            import pedalboard as package

            pedalboard: Any = package
            if not self.path.exists():
                raise GenaudioError(f'There is no plug-in {self.path}.')
            # DPF instruments expose 2,080 MIDI-CC parameters, which take 20 s to look at.
            patterns = getattr(package._pedalboard, 'PARAMETER_NAME_REGEXES_TO_IGNORE', None)
            if isinstance(patterns, set):
                patterns.add(re.compile(r'MIDI Ch\. '))
            try:
                plugin = pedalboard.load_plugin(str(self.path))
            except (ImportError, ValueError, OSError, RuntimeError) as error:
                raise GenaudioError(f'The plug-in {self.path} cannot be loaded: {one_line(error)}') from None
            if not getattr(plugin, 'is_instrument', False):
                raise GenaudioError(f'The plug-in {self.path} is not an instrument.')
            self._plugin = plugin
        return self._plugin

    def render(self, score: Score, n_samples: int) -> np.ndarray:
        """Return a score as sound, float32 (2, n_samples) at 44.1 kHz."""
        plugin = self._load()
        # At a reset pedalboard strikes middle C, and not every plug-in lets go of it by itself. The times differ
        # because it refuses many messages at one time.
        released = [(bytes((0x80, note, 0)), note / SAMPLE_RATE) for note in range(128)]
        plugin(released, duration=0.05, sample_rate=SAMPLE_RATE, reset=True)
        messages = []
        for track in score.tracks:
            if track.is_drum:
                continue
            for n in track.notes:
                start, end = score.seconds_at(n.beat), score.seconds_at(n.beat + n.duration)
                messages.append((bytes((0x90, n.note, n.velocity)), start))
                messages.append((bytes((0x80, n.note, 0)), max(end, start + 0.02)))
        messages.sort(key=lambda message: (message[1], message[0][0] == 0x90))
        audio = plugin(messages, duration=n_samples / SAMPLE_RATE, sample_rate=SAMPLE_RATE, reset=False)
        audio = np.atleast_2d(audio)[:2, :n_samples]
        return np.pad(audio, ((0, 0), (0, n_samples - audio.shape[1]))).astype(np.float32)
