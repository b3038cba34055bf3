"""A band in one's own program, in this process, with bytes in and out.

`InProcessBand` needs no port, no device and no other process: bytes go in, bytes come out, on a simulated clock (hours
in seconds, the same again each time) or in real time. On the ports of the system: `live_band`.
"""

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any

from bridge.band.arrange import make_arranger
from bridge.band.mode import Band, Mode
from bridge.live.rehearsal import Timed, perform, played_notes, simulate
from bridge.live.session import Session
from bridge.midi.input_queue import Inbox
from bridge.midi.sender import PrecisionSender, SimulatedSender
from bridge.musicians.choose import make_musician
from bridge.musicians.musician import Musician
from bridge.musicians.musician_process import Engine, ProcessEngine, SimulatedEngine
from bridge.settings.band_preset import Preset, find_preset, load_preset, parse_preset
from bridge.system.clock import RealClock, SimulatedClock
from bridge.system.notices import notice
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Meter, Score, Tempo, Track

STARTS = 60.0  # seconds that the music engine may take to load

AnyPreset = str | PathLike[str] | Mapping[str, Any] | Preset


def preset_of(preset: AnyPreset, settings: Mapping[str, Any] | None = None) -> Preset:
    """Return a checked preset.

    Parameters
    ----------
    preset : str, path, mapping or Preset
        The name of a bundled preset, the path of a .toml file, or what such a file would hold:
        ``{'player': {'mode': 'respond'}, 'parts': [{'instrument': 'piano'}]}``.
    settings : mapping, optional
        Changes, such as ``{'music.temperature': 0.8}``; the section may be left out.

    Raises
    ------
    GenaudioError
        If a name is unknown or a value wrong; the nearest right one is named.
    """
    if isinstance(preset, Preset):
        return preset.with_values(settings or {})
    if isinstance(preset, Mapping):
        return parse_preset(preset, changes=settings)
    return load_preset(find_preset(str(preset)), settings)


class InProcessBand:
    """A band in this process: MIDI bytes in, MIDI bytes out. Use as a context manager.

    Without `real_time` nothing ever waits: `play` runs a whole part through the same session that plays live. With it
    the clock is the system's: `receive` may be called from any thread while `run` or `play` lets the band play in
    another. All else is called from one thread.

    Parameters
    ----------
    preset : str, path, mapping or Preset
        See `preset_of`; its ports are not opened.
    settings : mapping, optional
        Changes to it, such as ``{'music.seed': 3}``. 'music.model' may be 'rules': no model is loaded then.
    real_time : bool
        Play by the system's clock. The model is then in a process of its own, so that scripts need the usual
        ``if __name__ == '__main__':``.
    musician : Musician, optional
        One of your own, instead of the model; it answers in the thread that plays.
    mode : callable, optional
        A mode of your own (a subclass of `BaseMode`), instead of the preset's 'player.mode'; it is given the band.
    on_send : callable, optional
        Called with (seconds, output number, message) for each message at its time; in real time from a thread of its
        own, which it must not hold up.
    notify : callable
        Gets one line for the person; by default the logger 'bridge' does.

    Attributes
    ----------
    sent : list of (float, int, bytes)
        What went out: seconds since the band was ready, output number, message.
    session : Session
    """

    def __init__(
        self, preset: AnyPreset = 'duet', settings: Mapping[str, Any] | None = None, *, real_time: bool = False,
        musician: Musician | None = None, mode: Callable[[Band], Mode] | None = None,
        on_send: Callable[[float, int, bytes], None] | None = None, notify: Callable[[str], None] = notice,
    ) -> None:  # fmt: skip
        chosen = preset_of(preset, settings)
        n_outputs = len(chosen['ports.outputs'])
        self.sent: list[tuple[float, int, bytes]] = []
        self._on_send = on_send
        self._began = 0.0
        self._inbox: Inbox | None = None
        self._engine: Engine
        model = chosen['music.model']
        if real_time:
            self.clock = RealClock()
            self._inbox = Inbox()
            sender = PrecisionSender(
                self.clock, lambda output, data: self._send(self.clock.now(), output, data), n_outputs
            )
            self._engine = (
                ProcessEngine(make_musician, (model,), clock=self.clock, notify=notify)
                if musician is None
                else SimulatedEngine(musician, self.clock, 0.0)
            )
        else:
            self.clock = SimulatedClock()
            sender = SimulatedSender(self.clock, n_outputs, keep=False)
            sender.on_send = self._send
            self._engine = SimulatedEngine(musician or make_musician(model), self.clock, settle=True)
        self._sender = sender
        arranger = make_arranger(model)
        self.session = Session(chosen, self.clock, sender, self._engine, notify=notify, arranger=arranger)
        if mode is not None:
            self.session.mode = mode(self.session)
        if not wait_until(lambda: (self.session.step(), self._engine.ready)[1], STARTS):
            self.close()
            raise GenaudioError('The music engine did not start within a minute.')
        self._began = self.clock.now()

    def __enter__(self) -> 'InProcessBand':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def now(self) -> float:
        """Seconds since the band was ready."""
        return self.clock.now() - self._began

    def receive(self, message: bytes, source: int = 0) -> None:
        """Take MIDI bytes that arrive now at input `source`. In real time from any thread."""
        if self._inbox is None:
            self.session.receive(source, message, self.clock.now())
        else:
            self._inbox.put(source, message, self.clock.now())

    def play(self, part: Iterable[Timed], seconds: float, source: int = 0) -> None:
        """Let `seconds` pass, in which `part` is played to the band.

        Parameters
        ----------
        part : iterable of (float, bytes)
            Seconds from now, and a MIDI message; `clock_part` and `note_part` make such.
        """
        begin = self.clock.now()
        events = [(begin + at, message) for at, message in part]
        if isinstance(self.clock, SimulatedClock):
            assert isinstance(self._sender, SimulatedSender)
            simulate(self.session, self.clock, self._sender, events, begin + seconds, source)
        else:
            perform(self.session, self._engine, self.clock, events, begin + seconds, self._inbox, source)

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.play((), seconds)

    def score(self, tempo: float, start: float = 0.0) -> Score:
        """Return what the band has played, a track for each part; beat 0 is at `start` seconds (of `now`)."""
        preset = self.session.preset
        notes = played_notes(self.sent, lambda seconds: (seconds - start) * tempo / 60)
        tracks = []
        for voice in self.session.voices:
            track = Track.of(voice.instrument, notes.pop((voice.output, voice.channel), []))
            track.channel = voice.channel
            tracks.append(track)
        meter = Meter(0.0, preset['transport.beats_per_bar'], preset['transport.beat_unit'])
        return Score(tracks, [Tempo(0.0, tempo)], [meter])

    def close(self) -> None:
        """End the music: every note, then the engine."""
        self.session.close()
        if self._inbox is not None:
            self._inbox.close()

    def _send(self, when: float, output: int, message: bytes) -> None:
        self.sent.append((when - self._began, output, message))
        if self._on_send is not None:
            self._on_send(*self.sent[-1])
