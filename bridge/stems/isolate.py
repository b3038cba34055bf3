"""Live stem isolation as one call: ``run(queries=['drums'], ...)``. `genaudio isolate` and `genaudio live isolate`
come here."""

import contextlib
import math
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bridge.audio.callback_process import AudioProcess
from bridge.audio.jack_device import OtherRate
from bridge.panel.panel import PanelAddress
from bridge.settings.learned_controllers import Learned
from bridge.settings.stem_knobs import port_names
from bridge.settings.stems_preset import StemsPreset
from bridge.stems.audio_host import AudioHost
from bridge.stems.knobs import Knobs, MidiIn
from bridge.stems.line_commands import LineCommands, obey_lines
from bridge.stems.panel_link import StemsPanel
from bridge.stems.state_file import restore, save_state
from bridge.stems.words import Words
from bridge.system.cpu_wakeup import awake
from bridge.system.notices import notice
from bridge.system.signals import SignalWatch
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import presets_dir
from genaudio_core.interruption import Stopped

BUNDLED = 'stems-live.onnx'


def model_path(path: str | Path | None) -> str:
    """Return the model file to use; the bundled one by default."""
    return str(path or presets_dir() / 'models' / BUNDLED)


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
    panel: PanelAddress | None = None,
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
        A text stream of commands (`LineCommands.obey`), such as ``sys.stdin``.
    panel
        Show it in a browser, and be turned from there.

    Raises
    ------
    GenaudioError
        If model, device or a query cannot be used.
    """
    from genaudio_core.separation.streaming import MaskNetwork

    preset = (preset or StemsPreset()).with_queries(queries)
    queries, state = preset.queries, state or preset.state
    if not queries:
        raise GenaudioError('Nothing to listen for: give `queries`, such as drums.')
    if state:
        preset = restore(preset, state, on_notice)
    path = model_path(model or preset.model)
    network = MaskNetwork.load(path)
    card, low_latency = network.card, preset.low_latency
    words = Words(dict(card.details.get('words', {})), int(card.details['query_dim']))
    vectors = np.stack([words.vector(text) for text in queries])

    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise GenaudioError(f'`seconds` must be more than 0, not {seconds:g}.')
    found, on_jack = None, False
    if device is None:
        from bridge.audio.jack_device import server_timing

        try:
            sample_rate, block = server_timing(name)
            on_jack = True
        except GenaudioError as error:
            on_notice(f'{error} Trying the default audio device.')
    if not on_jack:
        from bridge.audio.portaudio_device import choose_channels, find_device

        found = find_device(device)
        channels = choose_channels(int(found['max_input_channels']), input_channels)
        if channels[0] == channels[1]:
            on_notice(f"Listening to channel {channels[0] + 1} of '{found['name']}' as mono.")
        elif found['max_input_channels'] > 2:
            on_notice(
                f"'{found['name']}' has {found['max_input_channels']} inputs; listening to "
                f'{channels[0] + 1} and {channels[1] + 1} (`input_channels` changes that).'
            )
    again, until, restarts = False, None, 0
    outputs, restored = tuple(port_names(queries)), ()
    with contextlib.ExitStack() as last, SignalWatch() as told_to:
        shown = None
        if panel is not None:
            shown = StemsPanel(panel, words.known, on_notice)
            last.callback(shown.close)
            on_notice = shown.notify
        while True:
            host, audio, plugins, knobs, midi_in, began = None, None, None, None, MidiIn(), False
            try:
                host = AudioHost(
                    path, vectors, sample_rate=sample_rate, block=block, mix=preset.mix, margin_ms=margin_ms,
                    on_notice=on_notice, low_latency=low_latency, or_dry=again,
                )  # fmt: skip
                host.core.bypass = bypass
                host.start(ended=lambda: bool(told_to.ended))
                if told_to.ended:
                    raise Stopped(signal.Signals[told_to.ended])
                if preset.chains:
                    from bridge.plugins.effects_host import PluginHost

                    plugins = PluginHost(host, preset.chains, ended=lambda: bool(told_to.ended))
                    on_notice(f'Plug-ins add {plugins.latency} samples of their own.')
                controls = LineCommands(host, words, list(queries), preset.mix)
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
                if shown is not None:
                    shown.use(controls)
                began = True
                if until is None:
                    until = time.monotonic() + seconds if seconds else math.inf
                block_told = host.core.block
                with awake():
                    while not told_to.ended and not controls.ended and time.monotonic() < until:
                        told_to.look(partial(_pause, host, True), partial(_pause, host, False))
                        if told_to.ended:  # while it was stopped: the children were told, too, and may be gone by now
                            break
                        host.poll()
                        while told := audio.poll() or (plugins.poll() if plugins else None):
                            on_notice(told)
                        if host.core.block != block_told:
                            block_told = host.core.block
                            on_notice(
                                f'Blocks now have {block_told} samples: latency {host.latency_ms:.1f} ms '
                                f'({host.latency} samples).'
                            )
                        before = dict(knobs.bound)
                        knobs.take(midi_in.drain(), on_notice)
                        if knobs.bound != before:
                            learned.remember(own, knobs.bound_at_start())
                        if shown is not None:
                            shown.look()
                        obey_lines(lines, controls, on_notice)
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
                low_latency = host.low_latency
                sample_rate, block, restored = other.sample_rate, other.block, audio.spec.restore
                again, restarts = True, restarts + audio.restarts
            except GenaudioError:
                if told_to.ended and not began:  # children were told, too, and ended while they were loading
                    raise Stopped(signal.Signals[told_to.ended]) from None
                raise
            finally:
                if shown is not None:
                    shown.use(None)
                if audio is not None:
                    audio.close()
                midi_in.close()
                if plugins is not None:
                    plugins.stop()
                if host is not None:
                    host.stop()


def _at_rate(sample_rate: int, network: Any) -> str:
    """Explain what another sample rate does to the stems, and what to do about it."""
    if network.runs_at(sample_rate):
        return 'Going on at that rate, with all settings kept.'
    return (
        f'The live separator works only at {network.rates}: the dry signal plays. Set the server back '
        f'(jackd -r {network.sample_rates[-1]}), and the stems come back.'
    )


def _as_turned(preset: StemsPreset, knobs: Knobs, on_notice: Callable[[str], None]) -> StemsPreset:
    """The preset with all that was turned while it played, the plug-ins' own states included."""
    try:
        with tempfile.TemporaryDirectory(prefix='genaudio-') as folder:
            kept = Path(folder) / 'state.json'
            save_state(kept, knobs)
            return restore(preset, kept, lambda line: None)
    except (GenaudioError, OSError) as error:  # a full disk
        on_notice(f'What was changed while it played is lost: {one_line(error)}')
        return preset


def _pause(host: AudioHost, on: bool) -> None:
    """Ctrl-Z and back: fade out and in. The processes of the sound run on meanwhile, so that JACK need not wait."""
    host.core.ending = on
    if on:
        time.sleep(0.1)
