"""A band on the ports of the system, with all that stands beside it: pads, a plug-in, OSC, a panel, a preset file.

`LiveBand` is what ``genaudio live`` runs: a process for the ports, another for the music, both started again if they
die; pads and a plug-in that plays the answer in processes of their own.
"""

import contextlib
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from bridge.live.in_process import AnyPreset, preset_of
from bridge.live.kept_takes import SavedTakes
from bridge.live.osc import OscServer
from bridge.live.port_process import COUNTED
from bridge.live.preset_reload import Reloader
from bridge.live.supervisor import Supervisor
from bridge.pads.jack_pads import PadsProcess
from bridge.panel.facts import band_facts, part_facts, presets
from bridge.panel.panel import Panel, PanelAddress
from bridge.plugins.instrument import InstrumentProcess
from bridge.settings.band_preset import Preset, find_named, find_preset, load_preset
from bridge.settings.instrument_table import Instrument, with_session
from bridge.settings.learned_controllers import Learned
from bridge.settings.preset_text import save_preset
from bridge.system.notices import notice
from genaudio_core.errors import GenaudioError

LOOK = 0.05  # seconds between two looks at the processes
LOUDSPEAKERS = 'system:playback'


class PluginInstrument(InstrumentProcess):
    """The plug-in that plays the answer: what it delays is sent earlier. Called from the thread of its band.

    Parameters
    ----------
    preset : Preset
        With an [instrument].
    session : str
        Client name of the band.
    supervisor : Supervisor
        Is told what the plug-in delays.

    Raises
    ------
    GenaudioError
        If the preset's ports are not JACK's, or the plug-in cannot be used.
    """

    _told = 0.0  # seconds that the person knows of

    def __init__(self, preset: Preset, session: str, supervisor: Supervisor):
        if preset['ports.backend'] not in ('auto', 'jack'):
            raise GenaudioError("An [instrument] needs JACK: set ports.backend = 'jack'.")
        assert preset.instrument is not None
        super().__init__(with_session(preset.instrument, session), f'{session}-instrument')
        self._supervisor = supervisor
        self.preset = preset

    @property
    def preset(self) -> Preset:
        """The preset that the session plays by, without the delay of the plug-in."""
        return self._preset

    @preset.setter
    def preset(self, preset: Preset) -> None:
        self._preset = preset
        self._counted: tuple[float, float] | None = None  # the session has it again, and knows nothing of the plug-in

    def poll(self) -> list[str]:
        lines = super().poll()
        wanted = (self.latency_s, self.preset['transport.latency_ms'])
        if not self.ready or (self._counted is None and not self.latency_s):
            return lines
        if wanted != self._counted:
            self._counted = wanted  # also when it is down to 0
            self._supervisor.send(set='transport.latency_ms', value=wanted[1] + 1000 * self.latency_s)
            if self.latency_s != self._told:
                self._told = self.latency_s
                name, late = self.instrument.plugin.name, 1000 * self.latency_s
                lines.append(f'{name} is {late:.1f} ms late; notes go out as much earlier.')
        return lines


def heard_through(font: str | PathLike[str] = '') -> Instrument:
    """Return a SoundFont as the instrument of a band, over JACK's loudspeakers; '' is the best that is installed.

    Raises
    ------
    GenaudioError
        If there is none, it is damaged, or fluidsynth is missing.
    """
    from genaudio_core.sound.soundfont import any_font, check_font, load_fluidsynth

    load_fluidsynth()
    return Instrument(check_font(Path(font) if font else any_font()).absolute(), connect=(LOUDSPEAKERS,))


class LiveBand:
    """A band on the ports of the system, as ``genaudio live`` runs it. Use as a context manager.

    A port of the preset that is not there is made (a virtual port, or a client of JACK), so that a DAW sees it. Pads
    and the instrument of the preset play, too. All is called from one thread, but `send`, `set` and `command` from
    any. Other processes are started: scripts need the usual ``if __name__ == '__main__':``.

    Parameters
    ----------
    preset : str, path, mapping or Preset
        See `preset_of`.
    settings : mapping, optional
        Changes to it.
    name : str
        Client name that other programs see.
    folder : path
        Where takes that are kept are written.
    save : bool
        Save each answer as it is heard, in a folder of this session below `takes_folder`, where the preset's
        'player.autosave' says so.
    osc : int, optional
        Listen for OSC on this UDP port of 127.0.0.1.
    listen : path, optional
        A SoundFont that is heard over JACK's loudspeakers, so that no synthesizer is needed; '' takes the best that is
        installed. A preset with an [instrument] of its own is heard through that.
    reload : bool
        Read the preset's file again when it changes.
    panel : PanelAddress, optional
        Show it in a browser, and be played from there.
    learned : Learned, optional
        Where controllers that are learned for a preset are remembered.
    notify : callable
        Gets one line for the person; by default the logger 'bridge' does.

    Raises
    ------
    GenaudioError
        If the preset, a pad or the plug-in is wrong; by `look` and `run`, if the processes cannot be kept alive.
    """

    def __init__(
        self, preset: AnyPreset = 'duet', settings: Mapping[str, Any] | None = None, *, name: str = 'genaudio',
        folder: str | PathLike[str] = '.', save: bool = False, osc: int | None = None,
        panel: PanelAddress | None = None, listen: str | PathLike[str] | None = None, reload: bool = False,
        learned: Learned | None = None, notify: Callable[[str], None] = notice,
    ) -> None:  # fmt: skip
        if not Path(folder).is_dir():
            raise GenaudioError(f'The folder {folder} does not exist.')
        self._font = None if listen is None else heard_through(listen)
        self.preset = self._audible(preset_of(preset, settings))
        self._tell, self._learned, self._reloader = notify, learned, None
        self._changes = dict(settings or {})
        if reload and isinstance(preset, str | PathLike):
            self._reloader = Reloader(find_preset(str(preset)), dict(settings or {}))
        self._pads = self._instrument = self._osc = self._panel = None
        self._presets: dict[str, Any] | None = None  # for the panel; None: to be read
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # for the panel, from any thread
        self._given = self._obeyed = 0  # orders
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()  # not for the session; from OSC's thread
        if panel is not None:
            self._panel = Panel(panel, 'band', band_facts(), lambda message: self.take(**message), self._notify)
        draw = self._panel.draw if self._panel is not None else None
        saved = self._saved_takes() if save else None
        try:
            self._supervisor = Supervisor(
                self._with_learned(), self._notify, folder=str(folder), client_name=name, on_scene=draw, saved=saved
            )
        except BaseException:
            if self._panel is not None:
                self._panel.close()
            if saved is not None:
                saved.close()
            raise
        try:
            self._pads = PadsProcess(self.preset.pads, f'{name}-pads') if self.preset.pads else None
            if self.preset.instrument:
                self._instrument = PluginInstrument(self.preset, name, self._supervisor)
            self._osc = OscServer(osc, self.take, self._notify) if osc is not None else None
        except BaseException:
            self.close()
            raise

    def _audible(self, preset: Preset) -> Preset:
        return preset if self._font is None or preset.instrument else replace(preset, instrument=self._font)

    def _saved_takes(self) -> SavedTakes | None:
        """Where answers are saved; made also where the preset saves none, for it may be told to while it plays."""
        wanted = self.preset['player.autosave']
        try:
            saved = SavedTakes(self.preset.name, self._notify)
        except GenaudioError as error:
            if wanted:
                self._notify(str(error))
            return None
        if wanted:
            self._notify(f'Every answer is saved in {saved.folder} (--set autosave=no: none is).')
        return saved

    def _notify(self, line: str) -> None:
        self._tell(line)
        if self._panel is not None:
            self._lines.put(line)

    def _with_learned(self) -> Preset:
        return self.preset if self._learned is None else self._learned.apply(self.preset)

    def __enter__(self) -> 'LiveBand':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def snapshot(self) -> dict[str, Any]:
        """The newest figures of the session: ports, beat, notes heard and played, deadlines missed. Empty at first."""
        return self._supervisor.snapshot

    @property
    def counts(self) -> dict[str, int]:
        """Counts so far, by name: notes, deadlines missed, restarts, what was refused."""
        names = (*COUNTED, 'restarts', 'kept')
        return {name: self.snapshot.get(name, 0) for name in names} | {
            'midi_restarts': self._supervisor.restarts, 'osc_garbage': self._osc.garbage if self._osc else 0,
            'refused_messages': self._supervisor.refused,
        }  # fmt: skip

    @property
    def settled(self) -> bool:
        """Whether everything that it was told has been taken in; what it says to it is said. From any thread."""
        return self._given == self._obeyed and not self._supervisor.pending

    def set(self, name: str, value: Any) -> None:
        """Change a live setting, such as 'temperature'; a wrong one costs a line."""
        self.send(set=name, value=value)

    def command(self, name: str) -> None:
        """Do what a key of the view does: 'play', 'hush', 'panic', 'next_take', 'keep', 'start', 'stop' ..."""
        self.send(command=name)

    def send(self, **message: Any) -> None:
        """Hand the session an instruction, as `Session.apply` takes it."""
        self._supervisor.send(**message)

    def look(self) -> None:
        """Look after everything once, for 0.05 seconds.

        Raises
        ------
        GenaudioError
            If the processes cannot be kept alive.
        """
        if not self._supervisor.poll(LOOK):
            raise GenaudioError('The MIDI process kept ending; see the lines above.')
        for other in (self._pads, self._instrument):
            for line in other.poll() if other is not None else ():
                self._notify(line)
        self._obey()
        self._show()
        if self._learned is not None and self.snapshot.get('preset') == self.preset.name:
            self._learned.remember(self.preset, self.snapshot['controllers'])
        if self._reloader is not None and (preset := self._reloader.look(self._notify)) is not None:
            self._use(preset)

    def run(self, seconds: float | None = None, until: Callable[[], bool] = lambda: False) -> bool:
        """Look after the band for `seconds` (or until Ctrl-C), or until a condition holds; whether it came to hold.

        Raises
        ------
        GenaudioError
            If the processes cannot be kept alive.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while not until():
            if end is not None and time.monotonic() >= end:
                return False
            self.look()
        return True

    def take(self, **message: Any) -> None:
        """Take a message of `control_messages`, from OSC or the panel; from any thread. A wrong one costs a line."""
        if message.keys() & {'pad', 'preset', 'save'}:
            self._given += 1
            self._orders.put(message)
        else:
            self.send(**message)

    def _obey(self) -> None:
        """Carry out the orders that are not for the session."""
        while not self._orders.empty():
            order = self._orders.get()
            if 'preset' in order:
                self._change_to(order['preset'])
            elif 'save' in order:
                self._save(order['save'])
            elif self._pads is None:
                self._notify('This preset has no pads; add a table [pads].')
            else:
                self._pads.load(order['pad'], order['file'])
            self._obeyed += 1

    def _change_to(self, name: str) -> None:
        """Play on with another preset. A name is not a path: what comes over a network chooses no files."""
        try:
            preset = self.preset if name == self.preset.name else load_preset(find_named(name), self._changes)
        except GenaudioError as error:
            self._notify(str(error))
            return
        self._reloader = None  # the file that was edited is not played any more
        self._use(preset)
        self._notify(f'Playing {preset["about.title"] or preset.name}.')

    def _save(self, name: str) -> None:
        """Write what plays as a preset, with the settings and controllers as they stand now."""
        now, preset = self.snapshot, self.preset
        if 'values' not in now:
            self._notify('The band is not ready yet: save it when it plays.')
            return
        values = dict(now['values'])
        if self._instrument is not None:  # what the plug-in delays is found again the next time
            values['transport.latency_ms'] = preset['transport.latency_ms']
        own = None if preset.instrument == self._font else preset.instrument
        preset = replace(preset, values=values, controllers=now['controllers'], instrument=own)
        try:
            path = save_preset(replace(preset, part_values=now['part_values']), name)
        except GenaudioError as error:
            self._notify(str(error))
            return
        self._presets = None
        self._notify(f"Saved as {path}. To play it: genaudio live '{name}'")

    def _show(self) -> None:
        """Give the panel its copies."""
        if self._panel is None:
            return
        while not self._lines.empty():
            self._panel.say(self._lines.get())
        if self._presets is None:
            self._presets = presets()
        self._panel.show(self.snapshot | {'presets': self._presets, 'part_knobs': part_facts(self.snapshot)})
        self._panel.look()

    def _use(self, preset: Preset) -> None:
        preset = self._audible(preset)
        if preset.pads != self.preset.pads or preset.instrument != self.preset.instrument:
            self._notify('[pads] and [instrument] change only when genaudio is restarted.')
        self.preset = preset
        self.send(preset=self._with_learned())
        if self._instrument is not None:
            self._instrument.preset = preset

    def pause(self) -> None:
        """Everything falls silent before this process is stopped (Ctrl-Z)."""
        self._supervisor.pause()
        for other in (self._pads, self._instrument):
            if other is not None:
                other.obey('silence')

    def resume(self) -> None:
        """Play again after `pause`."""
        self._supervisor.resume()

    def close(self) -> None:
        """End the music: every note first, then the processes."""
        with contextlib.ExitStack() as last:  # each of them, whatever happens to the others
            if self._instrument is not None:
                last.callback(self._instrument.stop)
            if self._pads is not None:
                last.callback(self._pads.stop)
            if self._osc is not None:
                last.callback(self._osc.close)
            if self._panel is not None:
                last.callback(self._panel.close)
            last.callback(self._supervisor.stop)
