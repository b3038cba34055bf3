"""Live stem isolation as one call: ``run(queries=['drums'], ...)``. `genaudio isolate` and `genaudio live isolate`
come here."""

import math
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bridge.audio import AudioHost
from bridge.audio_jack import OtherRate
from bridge.audio_process import AudioProcess
from bridge.awake import awake
from bridge.isolate_knobs import Knobs, MidiIn, restore, save_state
from bridge.isolate_preset import StemsPreset, port_names
from bridge.learned import Learned
from bridge.lines import Lines, reader_of
from bridge.lookup import Lookup
from bridge.mixer import Mix
from bridge.signals import Told
from genaudio_core.command import Stopped, notice
from genaudio_core.errors import GenaudioError, MissingModel, did_you_mean, one_line
from genaudio_core.files import presets_dir

BUNDLED = 'stems-live.onnx'
HELP_LINE = (
    'Lines that change what is heard: query N WORDS, gain N DB, rest DB, mute N, solo N, wet 0..1, bypass, '
    'model FILE, set NAME VALUE, learn NAME, status, quit.'
)  # fmt: skip


def model_path(path: str | Path | None) -> str:
    """Return the model file to use; the bundled one by default."""
    return str(path or presets_dir() / 'models' / BUNDLED)


class Words:
    """Words -> query vectors: those that the model was trained with as they are, all others by the query encoder."""

    def __init__(self, card_words: dict[str, list[float]], query_dim: int, on_notice: Callable[[str], None] = notice):
        self._known = card_words
        self.query_dim, self.on_notice = query_dim, on_notice
        self._encoder: Any = None

    def knows(self, text: str) -> bool:
        """Whether the vector of a query needs no encoder: the model was trained with it, or it is refused."""
        plain = ' '.join(text.lower().split())
        return not plain or plain in self._known

    def vector(self, text: str) -> np.ndarray:
        """Return the vector (D,) of a query. From any thread, from one at a time.

        Raises
        ------
        GenaudioError
            If it is empty, or unknown and there is no query encoder.
        """
        plain = ' '.join(text.lower().split())
        if not plain:
            raise GenaudioError('The query is empty. Say what to listen for, such as --query drums.')
        if plain in self._known:
            return np.asarray(self._known[plain], np.float32)
        if self._encoder is None:
            from genaudio_core.query import QueryEncoder

            self._encoder = QueryEncoder()
        try:
            vector = self._encoder.query(plain).vector
        except MissingModel:
            raise GenaudioError(
                f"'{text}' is not among this model's own words.{did_you_mean(plain, self._known)} "
                f'It has: {", ".join(sorted(self._known))}.'
            ) from None
        if len(vector) != self.query_dim:
            raise GenaudioError(f'The query encoder gives {len(vector)} numbers, this model takes {self.query_dim}.')
        return np.asarray(vector, np.float32)


@dataclass
class Controls:
    """Changes while it plays, from lines of text."""

    host: AudioHost
    words: Words
    names: list[str]
    mix: Mix
    ended: bool = False
    knobs: Knobs | None = None

    def __post_init__(self) -> None:
        self._lines: deque[str] = deque()  # that are still to be done, in order
        self._lookup: Lookup | None = None

    def hear(self, lines: Iterable[str], on_notice: Callable[[str], None]) -> None:
        """Do what lines say, and answer, in their order. Never waits: where words must be looked up, that line and all
        behind it are done in a later call."""
        self._lines.extend(lines)
        while self._lines and not self.ended:
            if self._looks_up(self._lines[0]):
                return
            try:
                told = self.obey(self._lines.popleft())
            except GenaudioError as error:
                told = str(error)
            except Exception as error:  # of an encoder: it is anybody's, and the music goes on
                told = f'That cannot be done: {one_line(error)}'
            self._lookup = None
            on_notice(told)

    def _looks_up(self, line: str) -> bool:
        """Whether the words of a line are being looked up; begins that where it is needed."""
        verb, _, rest = line.strip().partition(' ')
        which, _, text = rest.strip().partition(' ')
        if verb != 'query' or self.words.knows(text):
            return False
        try:
            self._stem(which)
        except GenaudioError:
            return False
        if self._lookup is None or self._lookup.key != text:
            self._lookup = Lookup(text, self.words.vector)
        return not self._lookup.done

    def _vector(self, text: str) -> np.ndarray:
        if self._lookup is not None and self._lookup.key == text:
            return self._lookup.answer()
        return self.words.vector(text)

    def _stem(self, text: str) -> int:
        if text.isdecimal() and 1 <= int(text) <= len(self.names):
            return int(text) - 1
        for names in (self.names, port_names(self.names)):  # as it was asked for, or as its output is called
            if text in names[: len(self.names)]:
                return names.index(text)
        names = ', '.join(self.names)
        raise GenaudioError(f"There is no stem '{text}'.{did_you_mean(text, self.names)} There are: {names}.")

    def obey(self, line: str) -> str:
        """Do what a line says; return what to answer.

        Raises
        ------
        GenaudioError
            If the line makes no sense.
        """
        verb, _, rest = line.strip().partition(' ')
        rest = rest.strip()
        if verb in ('quit', 'exit'):
            self.ended = True
            return 'ending'
        if verb == 'status':
            figures = self.host.status().items()
            return ', '.join(f'{k} {v:.3g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures)
        if verb == 'bypass':
            self.host.core.bypass = not self.host.core.bypass
            return f'bypass {"on" if self.host.core.bypass else "off"}'
        if verb == 'model':
            self.host.set_model(rest)
            return f'changing to {rest}'
        if verb in ('set', 'learn') and self.knobs is not None:
            name, _, value = rest.partition(' ')
            if verb == 'learn':
                self.knobs.learn(name)
                return f'Move a controller: it will move {name}.'
            if not value.strip():
                raise GenaudioError(f"'{line.strip()}' lacks a value, as in: set gain.rest -6")
            self.knobs.set(name, value.strip())
            return line.strip()
        if verb == 'query':
            which, _, text = rest.partition(' ')
            i = self._stem(which)
            queries = self.host.spec.queries.copy()
            queries[i] = self._vector(text)
            self.host.set_queries(queries)
            self.names[i] = text
            if self.knobs is not None:
                self.knobs.rename(port_names(self.names))
            return f'stem {i + 1} is now {text}'
        try:
            self.mix = self._mixed(verb, rest)
        except ValueError:
            raise GenaudioError(f"'{line.strip()}' lacks a number. {HELP_LINE}") from None
        self.host.set_mix(self.mix)
        return line.strip()

    def _mixed(self, verb: str, rest: str) -> Mix:
        mix = self.mix
        if verb == 'gain':
            which, _, value = rest.rpartition(' ')
            gains = list(mix.gains_db)
            gains[self._stem(which)] = float(value)
            return mix.changed(gains_db=tuple(gains))
        if verb == 'rest':
            return mix.changed(rest_db=float(rest))
        if verb == 'wet':
            return mix.changed(wet=float(rest))
        if verb in ('mute', 'solo'):
            before = getattr(mix, verb)
            return mix.changed(**{verb: before ^ {self._stem(rest)}})
        raise GenaudioError(f"I do not know '{verb}'. {HELP_LINE}")


def run(
    queries: Sequence[str] = (),
    *,
    model: str | Path | None = None,
    device: str | None = None,
    input_channels: str | None = None,
    sample_rate: int = 48000,
    block: int = 256,
    margin_ms: float | None = None,
    preset: StemsPreset | None = None,
    midi: str | None = None,
    state: str | Path | None = None,
    connect: Sequence[tuple[str, str]] = (),
    name: str = 'genaudio-stems',
    seconds: float | None = None,
    bypass: bool = False,
    lines: Any = None,
    on_notice: Callable[[str], None] = notice,
) -> dict[str, Any]:
    """Isolate sounds from a live input until Ctrl-C, 'quit' or `seconds`; return the final figures.

    Parameters
    ----------
    queries
        What to listen for, one per stem, after those of the preset.
    device
        Part of a PortAudio device's name; None takes JACK, and PortAudio's default device where no server runs.
    sample_rate, block
        For PortAudio devices; JACK has its own.
    margin_ms
        Extra latency for safety; None begins with one hop and widens it where results come late.
    preset
        Stems, levels, effects, and what MIDI controllers move.
    midi
        Part of the name of a MIDI port to listen to. A JACK client has its port ``midi_in`` in any case.
    state
        File of what was turned: restored from it now, written into it at the end.
    connect
        JACK ports to connect, as (source, sink); own ports may be written without the client's name.
    lines
        A text stream of commands (`Controls.obey`), such as ``sys.stdin``.

    Raises
    ------
    GenaudioError
        If model, device or a query cannot be used.
    """
    from genaudio_core.separation_stream import MaskNetwork

    preset = (preset or StemsPreset()).with_queries(queries)
    queries, state = preset.queries, state or preset.state
    if not queries:
        raise GenaudioError('Say what to listen for, such as --query drums.')
    if state:
        preset = restore(preset, state, on_notice)
    path = model_path(model or preset.model)
    network = MaskNetwork.load(path)
    card, hop = network.card, network.hop // 2 if preset.low_latency else network.hop
    words = Words(dict(card.details.get('words', {})), int(card.details['query_dim']), on_notice)
    vectors = np.stack([words.vector(text) for text in queries])

    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise GenaudioError(f'The seconds to play must be more than 0, not {seconds:g}.')
    found, on_jack = None, False
    if device is None:
        from bridge.audio_jack import server_timing

        try:
            sample_rate, block = server_timing(name)
            on_jack = True
        except GenaudioError as error:
            on_notice(f'{error} Trying the default audio device.')
    if not on_jack:
        from bridge.audio_portaudio import choose_channels, find_device

        found = find_device(device)
        channels = choose_channels(int(found['max_input_channels']), input_channels)
        if channels[0] == channels[1]:
            on_notice(f"Listening to channel {channels[0] + 1} of '{found['name']}' as mono.")
        elif found['max_input_channels'] > 2:
            on_notice(
                f"'{found['name']}' has {found['max_input_channels']} inputs; listening to "
                f'{channels[0] + 1} and {channels[1] + 1} (--input-channels changes that).'
            )
    again, until, restarts = False, None, 0
    outputs, restored = tuple(port_names(queries)), ()
    with Told() as told_to:
        while True:
            host, audio, plugins, knobs, midi_in, began = None, None, None, None, MidiIn(), False
            try:
                host = AudioHost(
                    path, vectors, sample_rate=sample_rate, block=block, mix=preset.mix, margin_ms=margin_ms,
                    on_notice=on_notice, hop=hop, or_dry=again,
                )  # fmt: skip
                host.core.bypass = bypass
                host.start(ended=lambda: bool(told_to.ended))
                if told_to.ended:
                    raise Stopped(signal.Signals[told_to.ended])
                if preset.chains:
                    from bridge.plugin_process import PluginHost

                    plugins = PluginHost(host, preset.chains, ended=lambda: bool(told_to.ended))
                    on_notice(f'Plug-ins add {plugins.latency} samples of their own.')
                controls = Controls(host, words, list(queries), preset.mix)
                knobs = controls.knobs = Knobs(preset.names, controls, plugins, preset.controllers, preset.spans)
                learned = Learned(on_notice, is_target=knobs.knows)
                own = replace(preset, name=f'isolate {preset.name}'.strip())  # a band's preset may be called the same
                knobs.bound.update(learned.bound(own.name))
                what: dict[str, Any] = (
                    {'client': name, 'outputs': outputs, 'restore': restored, 'again': again} if on_jack
                    else {'device': found, 'channels': tuple(channels)}
                )  # fmt: skip
                audio = AudioProcess(
                    host, AudioProcess.spec_for(host, plugins, **what), on_midi=midi_in.put, wait=not again
                )
                if again:
                    where = f'JACK client {name}'
                elif on_jack:
                    for source, sink in connect:
                        ends_of = [f'{audio.client}:{port}' if ':' not in port else port for port in (source, sink)]
                        audio.connect(ends_of[0], ends_of[1])
                    if midi:
                        audio.connect_midi(midi)
                    where = f'JACK client {audio.client}'
                    if audio.client != name:
                        on_notice(f"The JACK client is called '{audio.client}'; '{name}' is taken, or too long.")
                else:
                    assert found is not None
                    if midi or knobs.bound:
                        midi_in.listen(midi or f'{name} controllers', name, on_notice)
                    where = f"'{found['name']}', {audio.device_ms:.1f} ms of its own"
                on_notice(
                    f'{", ".join(queries)} from {where}: {sample_rate} Hz, blocks of {host.core.block}, '
                    f'hop {host.hop}, latency {host.latency_ms:.1f} ms ({host.latency} samples). Ctrl-C ends.'
                )
                began = True
                if until is None:
                    until = time.monotonic() + seconds if seconds else math.inf
                block_told = host.core.block
                with awake():
                    while not told_to.ended and not controls.ended and time.monotonic() < until:
                        told_to.look(partial(_pause, host, True), partial(_pause, host, False))
                        host.poll()
                        while told := audio.poll() or (plugins.poll() if plugins else None):
                            on_notice(told)
                        if host.core.block != block_told:
                            block_told = host.core.block
                            on_notice(
                                f'Blocks have {block_told} samples now: latency {host.latency_ms:.1f} ms '
                                f'({host.latency} samples).'
                            )
                        before = dict(knobs.bound)
                        knobs.take(midi_in.drain(), on_notice)
                        if knobs.bound != before:
                            learned.remember(own, knobs.bound_at_start())
                        _listen(lines, controls, on_notice)
                if state and (told := save_state(state, knobs)):
                    on_notice(told)
                audio.close()  # fades out, and counts to the end
                return host.status() | {
                    'sample_rate': sample_rate, 'block': host.core.block, 'hop': host.hop,
                    'latency_samples': host.latency,
                    'blocks': host.core.counts.blocks, 'audio_restarts': restarts + audio.restarts,
                    'plugin_restarts': plugins.restarts if plugins else 0,
                }  # fmt: skip
            except OtherRate as other:
                assert host is not None and audio is not None and knobs is not None
                on_notice(f'{other} {_at_rate(other.sample_rate, network)}')
                preset = _as_turned(preset, knobs, on_notice)
                queries, vectors, path, bypass = preset.queries, host.spec.queries, host.spec.model, host.core.bypass
                sample_rate, block, restored = other.sample_rate, other.block, audio.spec.restore
                again, restarts = True, restarts + audio.restarts
            except GenaudioError:
                if told_to.ended and not began:  # children were told, too, and ended while they were loading
                    raise Stopped(signal.Signals[told_to.ended]) from None
                raise
            finally:
                if audio is not None:
                    audio.close()
                midi_in.close()
                if plugins is not None:
                    plugins.stop()
                if host is not None:
                    host.stop()


def _at_rate(sample_rate: int, network: Any) -> str:
    """What becomes of the stems at another sample rate, and what to do."""
    if sample_rate in network.sample_rates:
        return 'Going on at that rate, with all as it was.'
    rates = ' or '.join(map(str, network.sample_rates))
    return (
        f'The live separator knows {rates} Hz only: the dry signal plays. Set the server back '
        f'(jackd -r {network.sample_rates[-1]}), and the stems come back by themselves.'
    )


def _as_turned(preset: StemsPreset, knobs: Knobs, on_notice: Callable[[str], None]) -> StemsPreset:
    """The preset with all that was turned while it played, the plug-ins' own states included."""
    try:
        with tempfile.TemporaryDirectory(prefix='genaudio-') as folder:
            kept = Path(folder) / 'state.json'
            save_state(kept, knobs)
            return restore(preset, kept, lambda line: None)
    except (GenaudioError, OSError) as error:  # a full disk
        on_notice(f'What was turned is lost, and as it was at the start: {one_line(error)}')
        return preset


def _pause(host: AudioHost, on: bool) -> None:
    """Ctrl-Z and back: fade out and in. The processes of the sound run on meanwhile, so that JACK need not wait."""
    host.core.ending = on
    if on:
        time.sleep(0.1)


def _listen(lines: Any, controls: Controls, on_notice: Callable[[str], None]) -> None:
    """Wait a little for lines, and do what they say. `lines` is a text stream, a `Lines`, or None."""
    reader = lines if isinstance(lines, Lines) else Lines() if lines is None else reader_of(lines)
    controls.hear(reader.wait(0.01), on_notice)
