"""A session treated badly on a simulated clock, and a model of who may be sounding: for `test_never_hangs`.

`Treatment` takes one event after the other, in any order: keys and pedals of two inputs, MIDI clocks, commands,
settings, reloads, ports that go and come back, an engine that is away. After each it holds what is down on the wire
against what may be: keys that the player holds (thru, arrange), and notes of the plan until the beat they end.
"""

from typing import Any

from live_band import Stage

from bridge.band.scheduler import Due
from bridge.midi import messages
from bridge.midi.doubtful_keys import LONGEST
from bridge.midi.input_queue import LOST
from bridge.midi.messages import control, note_off, note_on
from bridge.midi.wire_check import Key, WireCheck
from bridge.settings.band_preset import Preset, parse_preset

INPUTS, OUTPUTS = 2, 2
SETTLED = 0.6  # seconds after a stop at which nothing of the plan may sound any more
SLACK = 0.6  # beats after its end at which a note of the plan must be over

PARTS: list[list[dict[str, Any]]] = [
    [{'instrument': 'piano'}, {'instrument': 'bass', 'output': 2}, {'instrument': 'drums'}],
    [{'instrument': 'strings', 'channel': 1, 'program': 48}, {'instrument': 'flute', 'channel': 1}],
    [{'instrument': 'bass', 'output': 2, 'channel': 3}],
    [{'instrument': 'piano', 'output': 3}],  # an output that is not open
]


def make_preset(mode: str, parts: int, thru: bool, takes: int = 1) -> Preset:
    return parse_preset(
        {
            'ports': {'inputs': ['keys', 'pads'], 'outputs': ['a', 'b', 'c'][: 3 if parts == 3 else OUTPUTS]},
            'player': {'mode': mode, 'thru': thru, 'bars_heard': 1, 'bars_answered': 1},
            'music': {'takes': takes},
            'parts': PARTS[parts],
            'cc': {'20': 'player.thru', '21': 'panic', '22': 'player.mode', '23': 'play'},
        }
    )


class Treatment:
    """One session, the wire behind it, and what may sound there."""

    def __init__(self, mode: str, parts: int = 0, thru: bool = False, takes: int = 1, delay: float = 0.004) -> None:
        self.stage = Stage(make_preset(mode, parts, thru, takes), delay, keep=False, n_outputs=OUTPUTS)
        self.session, self.clock = self.stage.session, self.stage.clock
        self.wire = WireCheck()
        self.stage.sender.on_send = self.wire.feed
        self.session.scheduler.on_play = self._planned
        self._all_off = self.session.all_notes_off
        self.session.all_notes_off = self._all_notes_off
        self.parsers: dict[int, messages.Parser] = {}
        self.ticks: dict[int, list[float]] = {}  # input -> [time of the next tick, seconds between two]
        # The model: what the player holds down, and what the band plays.
        self.thru: dict[tuple[int, int, int], Key] = {}  # (input, channel, note) -> key on the wire
        self.arranged: dict[tuple[int, int, int], bool] = {}  # ... -> whether only the pedal holds it
        self.pedals: set[tuple[int, int]] = set()  # (input, channel)
        self.passed: dict[tuple[int, int], tuple[int, int]] = {}  # pedals sent on -> (output, channel)
        self.lost: dict[Key, float] = {}  # keys on the wire whose note-off was lost -> when they must be over
        self.plan: dict[Key, float] = {}  # key -> beat at which the band's note ends
        self.stopped_at: float | None = None

    # --- events

    def wait(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        session, sender = self.session, self.stage.sender
        while True:
            wake = session.step()
            sender.run_until(self.clock.now())
            tick = min((due for due, _ in self.ticks.values()), default=until)
            self.clock.advance_to(max(min(max(wake, self.clock.now() + 1e-4), tick, until), self.clock.now()))
            sender.run_until(self.clock.now())
            for source, state in self.ticks.items():
                while state[0] <= self.clock.now():
                    session.receive(source, b'\xf8', state[0])
                    state[0] += state[1]
            if session.transport.rolling:
                self.stopped_at = None
            elif self.stopped_at is None:
                self.stopped_at = self.clock.now()
            self.check()
            if self.clock.now() >= until:
                session.step()
                sender.run_until(self.clock.now())
                return

    def key_down(self, source: int, channel: int, note: int) -> None:
        self.send(source, note_on(channel, note, 80))

    def key_up(self, source: int, channel: int, note: int) -> None:
        self.send(source, note_off(channel, note))

    def pedal(self, source: int, channel: int, value: int) -> None:
        self.send(source, control(channel, 64, value))

    def controller(self, source: int, channel: int, number: int, value: int) -> None:
        self.send(source, control(channel, number, value))

    def send(self, source: int, chunk: bytes) -> None:
        """Any bytes, one by one: the model reads them, too, so that garbage may well become music."""
        parser = self.parsers.setdefault(source, messages.Parser())
        for byte in chunk:
            before = self._settings()
            self.session.receive(source, bytes((byte,)), self.clock.now())
            self._follow_settings(before)
            for message in parser.feed(bytes((byte,))):
                self._follow(source, messages.decode(message, self.clock.now()))

    def _follow(self, source: int, event: messages.Event | None) -> None:
        if isinstance(event, messages.NoteOn):
            place = (source, event.channel, event.note)
            self.thru.pop(place, None)
            self.arranged.pop(place, None)
            mode, voices, thru = self._settings()
            if thru:
                self.thru[place] = (voices[0].output, voices[0].channel, event.note)
            if mode == 'arrange':
                self.arranged[place] = False
        elif isinstance(event, messages.NoteOff):
            place = (source, event.channel, event.note)
            self.thru.pop(place, None)
            if place in self.arranged and place[:2] in self.pedals:
                self.arranged[place] = True
            else:
                self.arranged.pop(place, None)
        elif isinstance(event, messages.Control):
            place = (source, event.channel)
            if event.control == 64:
                self._pedal(*place, event.value >= 64)
            elif event.control == 121:
                self._pedal(*place, False)
            elif event.control in (120, 123):
                self._cut(lambda key: key[:2] == place)
                self.passed.pop(place, None)

    def _pedal(self, source: int, channel: int, down: bool) -> None:
        _, voices, thru = self._settings()
        if down:
            self.pedals.add((source, channel))
            if thru:
                self.passed[source, channel] = (voices[0].output, voices[0].channel)
            return
        self.pedals.discard((source, channel))
        if thru:
            self.passed.pop((source, channel), None)
        self._let_go_arranged(lambda place, by_pedal: by_pedal and place[:2] == (source, channel))

    def turn(self, source: int, seconds: float) -> None:
        """A bar of keys, with a clock that runs, and time for the band to play."""
        if not self.session.transport.rolling:
            if source not in self.ticks:
                self.clock_message(source, 'run', 2)
            self.clock_message(source, 'start', 0)
            self.wait(0.05)
        for note in (60, 64, 67):
            self.key_down(source, 0, note)
            self.wait(0.25)
            self.key_up(source, 0, note)
        self.wait(seconds)

    def under_pedal(self, source: int, channel: int, note: int) -> None:
        """A key under the pedal, from its pressing to its lifting."""
        self.pedal(source, channel, 127)
        self.key_down(source, channel, note)
        self.wait(0.03)
        self.key_up(source, channel, note)
        self.wait(0.03)
        self.pedal(source, channel, 0)
        self.wait(0.02)

    def vanish(self, source: int, channel: int, note: int) -> None:
        """An input goes with a key and the pedal down."""
        self.pedal(source, channel, 127)
        self.key_down(source, channel, note)
        self.wait(0.03)
        self.input_lost(source)
        self.wait(0.02)

    def lose_end(self, source: int, channel: int, note: int) -> None:
        """A key of an input is let go in a cycle that was missed; all else that it holds may have been, too."""
        self.key_down(source, channel, note)
        self.wait(0.03)
        self.session.receive(source, LOST, self.clock.now())
        if (key := self.thru.pop((source, channel, note), None)) is not None:
            self.lost[key] = self.clock.now() + LONGEST

    def clock_message(self, source: int, what: str, value: int) -> None:
        if what == 'run':
            self.ticks[source] = [self.clock.now() + 0.01, 60 / (60, 97, 160)[value % 3] / 24]
        elif what == 'halt':
            self.ticks.pop(source, None)
        elif what == 'position':
            self.send(source, messages.song_position(value))
        else:
            self.send(source, {'start': b'\xfa', 'continue': b'\xfb', 'stop': b'\xfc'}[what])

    def command(self, name: str) -> None:
        self.session.apply({'command': name})
        if name == 'panic':
            self._forget_all()
            self.stage.sender.run_until(self.clock.now())
            assert not self.wire.must_be_quiet(self.clock.now(), outputs=self._present()), self.wire.faults

    def set(self, name: str, value: object) -> None:
        before = self._settings()
        self.session.apply({'set': name, 'value': value})
        self._follow_settings(before)

    def reload(self, mode: str, parts: int, thru: bool) -> None:
        before = self._settings()
        self.session.apply({'preset': make_preset(mode, parts, thru)})
        self._follow_settings(before)

    def input_lost(self, source: int) -> None:
        self.session.port_lost(source)
        self.parsers.pop(source, None)
        self.ticks.pop(source, None)
        self._cut(lambda place: place[0] == source)
        self.pedals = {place for place in self.pedals if place[0] != source}
        self.passed = {place: sent for place, sent in self.passed.items() if place[0] != source}

    def output_lost(self, output: int) -> None:
        self.stage.sender.away.add(output)

    def output_back(self, output: int) -> None:
        self.stage.sender.away.discard(output)
        self.session.output_back(output)
        self.thru = {place: key for place, key in self.thru.items() if key[0] != output}
        self.passed = {place: sent for place, sent in self.passed.items() if sent[0] != output}
        self.plan = {key: end for key, end in self.plan.items() if key[0] != output}
        assert not self.wire.must_be_quiet(self.clock.now(), outputs=[output]), self.wire.faults

    def engine(self, ready: bool) -> None:
        self.stage.engine.ready = ready

    # --- the model

    def _planned(self, time: float, due: Due) -> None:
        self.plan[due.voice.output, due.voice.channel, due.note] = due.beat + due.duration

    def _settings(self) -> tuple[Any, ...]:
        preset = self.session.preset
        return preset['player.mode'], self.session.voices, preset['player.thru']

    def _follow_settings(self, before: tuple[Any, ...]) -> None:
        after = self._settings()
        if after[:2] != before[:2]:
            self._forget_all()
        elif before[2] and not after[2]:
            self.thru.clear()
            self.passed.clear()

    def _all_notes_off(self) -> None:
        """Whoever asked for it: a command, a controller that rose, another mode."""
        self._all_off()
        self._forget_all()

    def _forget_all(self) -> None:
        for held in (self.thru, self.arranged, self.passed, self.plan, self.lost):
            held.clear()

    def _cut(self, is_meant: Any) -> None:
        self.thru = {place: key for place, key in self.thru.items() if not is_meant(place)}
        self._let_go_arranged(lambda place, by_pedal: is_meant(place))

    def _let_go_arranged(self, is_meant: Any) -> None:
        self.arranged = {place: held for place, held in self.arranged.items() if not is_meant(place, held)}

    def _present(self) -> list[int]:
        return [output for output in range(OUTPUTS) if output not in self.stage.sender.away]

    def check(self) -> None:
        """Hold the wire against the model. What a short note needs to end (a few milliseconds) is let pass."""
        now = self.clock.now()
        transport = self.session.transport
        if self.stopped_at is not None and now - self.stopped_at > SETTLED:
            self.plan.clear()
        elif transport.rolling:
            beat = transport.beat_at(now)
            self.plan = {key: end for key, end in self.plan.items() if beat < end + SLACK}
        assert not self.wire.struck_twice, self.wire.faults
        present = self._present()
        pedals = {place for place in self.wire.pedals if place[0] in present}
        assert pedals <= set(self.passed.values()), f'pedals left down at {now:.3f}: {pedals}'
        self.lost = {key: until for key, until in self.lost.items() if now < until + 0.1}
        excused = {*self.thru.values(), *self.plan, *self.lost}
        left = {key for key, since in self.wire.down.items() if key[0] in present and key not in excused}
        left = {key for key in left if now - self.wire.down[key] > 0.01}
        assert len(left) <= len(self.arranged), f'hanging at {now:.3f} s: {left}; held: {self.arranged}'

    def end(self) -> None:
        """Everybody lets go, the transport stops, ports are back: nothing sounds, before the session closes."""
        for output in list(self.stage.sender.away):
            self.output_back(output)
        for source in range(INPUTS):
            self.clock_message(source, 'stop', 0)
            self.clock_message(source, 'halt', 0)
        self.command('stop')
        self.wait(SETTLED + 0.5)
        for source, channel, note in {*self.thru, *self.arranged}:
            self.key_up(source, channel, note)
        for source, channel in list(self.pedals):
            self.pedal(source, channel, 0)
        self.wait(LONGEST + 0.1 if self.lost else 0.05)
        now = self.clock.now()
        assert not self.wire.must_be_quiet(now), self.wire.faults
        assert self.stage.sender.sounding.count() == 0
        self.session.close()
        assert not self.wire.finish(now).hung_notes and not self.wire.struck_twice, self.wire.faults
