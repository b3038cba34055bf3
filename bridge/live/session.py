"""The session: one thread's worth of decisions, driven by a clock, real or simulated.

Messages come in with their times (`receive`), `step` lets time pass, everything that goes out goes through the
scheduler to the sender. The session owns no thread, no port and no process, so the same code plays in the port
process, in the demo and in tests that run hours in seconds.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bridge.band.answer import Answer
from bridge.band.deadlines import Deadlines
from bridge.band.listener import Listener, PlayerFeel
from bridge.band.mode import Mode
from bridge.band.modes import MODES
from bridge.band.note_output import InputKey, NoteOutput, Owner
from bridge.band.scheduler import Due, PartSwitches, Scheduler
from bridge.band.take_over import start_soon
from bridge.live.request_maker import RequestMaker
from bridge.live.snapshot import snapshot
from bridge.live.takes import Takes
from bridge.midi import messages
from bridge.midi.active_sensing import RESET, Sensing
from bridge.midi.doubtful_keys import DoubtfulKeys
from bridge.midi.input_queue import LOST
from bridge.midi.messages import Control, NoteOff, NoteOn, Sync
from bridge.midi.sender import Sender
from bridge.musicians.musician import ChordAt, HeardNote, PlannedMusic, PlannedNote
from bridge.musicians.musician_process import Engine
from bridge.settings.band_preset import Preset
from bridge.settings.controllers import Controllers
from bridge.settings.parameters import COMMANDS
from bridge.system.clock import Clock
from bridge.system.notices import notice
from bridge.transport.leader_choice import LeaderChoice
from bridge.transport.midi_clock import Change
from bridge.transport.transport import Leader
from genaudio_core.errors import GenaudioError
from genaudio_core.score.instruments import find_instrument, voices_of

if TYPE_CHECKING:
    from genaudio_core.arranging.part_model import PartModel

MAX_SLEEP = 0.02  # seconds between two steps, at most
STANDSTILL = 0.3  # seconds without a beat after which notes of the plan end
EARLY = 0.1  # seconds before a start or a jump in which a key is struck for what begins there


class Session:
    """A band, and what it knows of the person who plays with it.

    Parameters
    ----------
    preset : Preset
    clock : Clock
    sender : Sender
    engine : Engine
    leader : Leader, optional
        Who leads the transport; by default what the preset asks for among MIDI clock and our own tempo.
    horizon : float
        Seconds that messages are handed to the sender early.
    notify : callable
        Gets one line for the person; by default the logger 'bridge' does.
    arranger : PartModel, optional
        Tells parts in mode arrange; without it rules do.
    """

    def __init__(
        self, preset: Preset, clock: Clock, sender: Sender, engine: Engine, *, leader: Leader | None = None,
        horizon: float = 0.03, notify: Callable[[str], None] = notice, arranger: 'PartModel | None' = None,
    ) -> None:  # fmt: skip
        self.preset, self.clock, self.sender, self.engine, self.notify = preset, clock, sender, engine, notify
        self.heard = engine.heard  # what the player has played
        self.arranger = arranger
        self.voices = preset.voices
        self.handovers: deque[float] = deque(maxlen=10_000)  # seconds, question to first note in the plan
        self.bad_bytes = 0  # of MIDI
        self.leaders = LeaderChoice(preset, leader, quiet=self._all_quiet, notify=notify)
        self.transport = self.leaders.transport
        self.notes = NoteOutput(sender)  # everything that sounds leaves through it
        self.scheduler = Scheduler(self.transport, sender, horizon, preset['transport.latency_ms'] / 1000, self.notes)
        self.switches = PartSwitches(self.scheduler)
        self.listener = Listener(find_instrument(preset['player.instrument']))
        self.feel = PlayerFeel(offsets=[0.0] * 4)
        self.deadlines = Deadlines(self)
        self.requests = RequestMaker(self)
        self.controllers = Controllers(preset.controllers, [voice.instrument for voice in self.voices])
        self.takes = Takes(self)
        self.answers: list[Answer] = []  # not yet over, in order of time
        self._parsers: dict[int, messages.Parser] = {}
        self._sensing = Sensing()
        self._doubtful = DoubtfulKeys()
        self._stood_at: float | None = None  # bridge time since which the transport is seen not to roll
        self._halted: float | None = None  # session beat of a stop after which the plan still stands
        self._closed = self._rolled = False  # _rolled: the transport's last change was a start
        self.mode: Mode = MODES[preset['player.mode']](self)
        self._tell_instruments()

    # --- set-up

    def _tell_instruments(self) -> None:
        self.switches.use(self.voices)
        self.scheduler.ranges = self.preset.ranges
        own = find_instrument(self.preset['player.instrument'])
        self.engine.expect([own, *(voice.instrument for voice in self.voices)], self.transport.bar)

    def setting(self, name: str) -> Any:
        """A parameter by its full name, such as 'player.bars_heard'."""
        return self.preset[name]

    @property
    def answer(self) -> Answer | None:
        """The newest answer that is not over."""
        return self.answers[-1] if self.answers else None

    @property
    def units(self) -> int:
        """Deadlines so far."""
        return self.deadlines.units

    @property
    def missed(self) -> int:
        """Those of them at which the rules had to play."""
        return self.deadlines.missed

    def lead(self) -> float:
        """Seconds from a question to the first note that can be on time."""
        return self.scheduler.horizon + self.scheduler.latency_s + self.preset['engine.margin_ms'] / 1000 + 0.05

    # --- what comes in

    def receive(self, source: int, chunk: bytes, time: float) -> None:
        """Take MIDI bytes of input `source` that arrived at bridge time `time`; `LOST`: some before that did not."""
        if chunk == LOST:
            self.leaders.lost(source)
            self._doubtful.lost(source, time)
        self._sensing.hear(source, chunk, time)
        if RESET in chunk:  # it has forgotten what it held
            self._let_go(source)
        parser = self._parsers.setdefault(source, messages.Parser(exclusive=True))
        before = parser.bad_bytes
        for message in parser.feed(chunk):
            self._doubtful.hear(source, message, time)
            event = messages.decode(message, time)
            if isinstance(event, Sync):
                self._changed(self.leaders.sync(source, event))
            elif event is not None:
                self._play_in(source, event)
        self.bad_bytes += parser.bad_bytes - before

    def _play_in(self, source: int, event: messages.Event) -> None:
        if isinstance(event, Control):
            try:
                for name, value in self.controllers.moved(event, self.notify):
                    self._try(name, value)
            except GenaudioError as error:
                self.notify(str(error))
        if isinstance(event, NoteOn):
            self._changed(self.leaders.key(event.time))
        beat = self.transport.beat_at(event.time)
        finished = self.listener.feed(source, event, beat)
        if finished:
            self._heard(finished)
        if isinstance(event, NoteOn):
            self._key_down(source, event)
            self.mode.on_note(event, beat)
        elif isinstance(event, NoteOff):
            for kind in ('thru', 'arrange'):
                self.notes.lift(Owner(kind, source), InputKey(event.channel, event.note), event.time)
            self.mode.on_note_off(event, beat)
        elif isinstance(event, Control):
            self._pass_control(source, event)

    def _key_down(self, source: int, event: NoteOn) -> None:
        """Sound at once what the key sounds: itself with thru, a part in mode arrange."""
        slot = InputKey(event.channel, event.note)
        if self.preset['player.thru']:
            self.notes.press(Owner('thru', source), slot, event.time, self.voices[0], event.note, event.velocity)
        if (placed := self.mode.place(self.listener.marked(source, event))) is not None:
            voice, note = placed[0], self.scheduler.within(*placed)
            place = (voice.output, voice.channel)
            hands = sum(voices_of(one.instrument) for one in self.voices if (one.output, one.channel) == place)
            self.notes.make_way(voice, note, hands, event.time)
            self.notes.press(Owner('arrange', source), slot, event.time, voice, note, event.velocity)

    def _pass_control(self, source: int, event: Control) -> None:
        """The pedal is passed on with thru and holds what is arranged; "all notes off" ends what its input holds."""
        if event.control in messages.ENDS_NOTES:
            self.notes.end(source=source, channel=event.channel)
        elif event.control in (messages.SUSTAIN, messages.RESET_CONTROLLERS):
            value = event.value if event.control == messages.SUSTAIN else 0
            self.notes.sustain(Owner('arrange', source), event.channel, value >= 64, event.time)
            if self.preset['player.thru']:
                self.notes.pass_pedal(Owner('thru', source), event.channel, self.voices[0], value, event.time)

    def _heard(self, notes: list[HeardNote]) -> None:
        self.feel.hear(notes)
        self.requests.hear(self.heard.hear(notes))
        self.engine.hear(notes)
        self.mode.on_heard(notes)

    def port_lost(self, source: int) -> None:
        """Input `source` is gone: what it held is let go, its pedal is up; other inputs keep what they hold."""
        self._parsers.pop(source, None)
        self._sensing.forget(source)
        self._let_go(source)

    def _let_go(self, source: int) -> None:
        """No note-off will come for what input `source` holds."""
        self._doubtful.forget(source)
        self.notes.end(source=source)
        self._heard(self.listener.release(source, self.transport.beat_at(self.clock.now())))

    def output_back(self, output: int) -> None:
        """The port of `output` is back: end there what a synthesizer may still hold, and send programs again."""
        self.notes.end_output(output)

    # --- what the band does

    def ask(
        self, start: float, end: float, role: str = 'continue', *, joins: bool = False, listens: float = 0.0
    ) -> Answer:  # fmt: skip
        """Ask for music in [start, end); see `band.mode.Band.ask`."""
        now = self.clock.now()
        self.transport.use()
        if not joins:
            self.drop(start)
        held = self.listener.held(min(self.transport.beat_at(now), start))
        if held:  # carried over with an estimated length; told again when they end
            self.requests.hear(self.heard.hear(held))
            self.engine.hear(held)
        request = self.requests.make(start, end, role, listens)
        answer = Answer(request, now)
        self.answers.append(answer)
        self.engine.ask(request)
        return answer

    def drop(self, beat: float, *, release: bool = False) -> None:
        """Take back what is planned from `beat` on; `release` ends what sounds too."""
        for answer in list(self.answers):
            if answer.end <= beat + 1e-9:
                continue
            self.scheduler.cancel(answer.request.id, beat)
            self.engine.cancel(answer.request.id, max(beat, answer.request.start))
            if answer.request.start >= beat - 1e-9:
                self.answers.remove(answer)
            else:
                answer.end = beat
        self.end_by(beat)
        if release:
            self.scheduler.release()

    def end_by(self, beat: float) -> None:
        """Let everything that the band began before `beat` end there, also what is yet to come in."""
        for answer in self.answers:
            if answer.request.start < beat - 1e-9:
                answer.silent = min(answer.silent, beat)
        self.scheduler.end_by(beat)

    def chords(self, start: float, end: float) -> tuple[ChordAt, ...]:
        """The chords to play over in [start, end): see `ChordFollower.over`; what is held counts."""
        return self.requests.chords(start, end)

    def play_now(self) -> None:
        """Continue what was just played, in any mode."""
        if not self.listener.n_heard:
            self.notify('Nothing heard yet: play something, then ask for an answer.')
            return
        now = self.clock.now()
        if not self.transport.rolling:
            self.notify('The transport is stopped: start it, then ask for an answer.')
            return
        start = start_soon(self, now)  # type: ignore[arg-type]
        bar = self.transport.bar
        self.drop(start)
        self.ask(start, self.transport.next_bar(start + 1e-3) + bar * (self.preset['player.bars_answered'] - 1))

    def dues(self, answer: Answer, notes: list[PlannedNote], shift: float = 0.0) -> list[Due]:
        """Planned notes as they will be played: see `Answer.dues`."""
        timing, touch = self.preset['music.timing'], self.preset['music.touch']
        return answer.dues(
            notes, self.voices, lambda note: self.feel.shape(note.beat, note.velocity, timing, touch), shift
        )

    # --- time passes

    def step(self) -> float:
        """Do everything that is due now; return the bridge time of the next step, at the latest."""
        now = self.clock.now()
        self._changed(self.leaders.check(now))
        for piece in self.engine.poll():
            self._take_in(piece, now)
        for source in self._sensing.gone(now):
            self.notify(f"'{self.preset['ports.inputs'][source]}' fell silent (active sensing): its keys are let go.")
            self._let_go(source)
        for source, event in self._doubtful.gone(now):
            self.notify(f"'{self.preset['ports.inputs'][source]}' lost messages, and a key held then is let go.")
            self._play_in(source, event)
        for line in self.sender.complaints():
            self.notify(line)
        beat = self.transport.beat_at(now)
        self._watch_standstill(now)
        if self.transport.rolling:
            self.mode.step(now, beat)
            self.deadlines.keep(now)
            self.answers = [answer for answer in self.answers if not self._is_over(answer, beat)]
            self.takes.look(beat)
        self.scheduler.dispatch(now)
        return self._next_time(now, beat)

    def _watch_standstill(self, now: float) -> None:
        """Without beats no note of the plan would end: a leader that stands still without a stop has stopped."""
        if self.transport.rolling:
            self._stood_at = None
        elif self._stood_at is None:
            self._stood_at = now
        elif now - self._stood_at > STANDSTILL and self.scheduler.sounding:
            self._all_quiet()

    def _is_over(self, answer: Answer, beat: float) -> bool:
        if beat < answer.end:
            return False
        answer.ended = True
        self.takes.ended(answer)
        return True

    def _next_time(self, now: float, beat: float) -> float:
        times = [now + MAX_SLEEP, self.scheduler.next_time(), self.engine.next_time()]
        if self.transport.rolling:
            times.append(self.mode.next_time(now, beat))
            times += [self.deadlines.deadline(answer) for answer in self.answers if answer.line < answer.end]
        return max(now, min(time for time in times if time is not None))

    def _take_in(self, piece: PlannedMusic, now: float) -> None:
        answer = next((answer for answer in self.answers if answer.request.id == piece.request), None)
        if answer is None:
            return
        if piece.done:
            answer.complete.add(piece.take)
        if piece.take in answer.again:
            self.takes.came_again(answer, piece)
            return
        answer.takes.setdefault(piece.take, []).extend(piece.notes)
        answer.until[piece.take] = piece.until
        if piece.take != answer.take:
            return
        # What the fallback has covered meanwhile is taken; the late notes for it are not played twice.
        notes = [note for note in piece.notes if answer.covered - 1e-6 <= note.beat < answer.end]
        if notes and answer.queued is None:
            answer.queued = now
            self.handovers.append(now - answer.asked)
        self.scheduler.add(answer.request.id, self.dues(answer, notes))
        answer.covered = max(answer.covered, min(piece.until, answer.end))
        answer.arrived.append((piece.until, now))

    def _changed(self, changes: list[Change]) -> None:
        for change in changes:
            if change.kind == 'tempo':
                continue
            starts = change.kind == 'start'
            if not starts or self._rolled:
                self._heard(self.listener.release_all(change.beat, before_time=change.time - EARLY))
            if not starts:  # told to go on, a musician does so where the music stopped
                self.scheduler.halt(self.clock.now())
                self._halted = change.beat
            elif self._halted is not None and self.transport.goes_on(self._halted, change.beat):
                self.scheduler.go_on(change.beat)
                self._halted = None
            else:
                self._all_quiet()
            for event in self.listener.move_held(change.time, change.beat) if starts else ():
                self.mode.on_note(event, change.beat)
            self._rolled = starts

    def _all_quiet(self) -> None:
        """End what the band plays and forget its plan; memory of what was heard stays, and what the player holds."""
        beat = self.transport.beat_at(self.clock.now()) if self._halted is None else self._halted
        self._halted = None
        for answer in self.answers:
            self.engine.cancel(answer.request.id, min(beat, answer.end))
            answer.end = min(answer.end, beat)
            self.takes.ended(answer)
        self.answers.clear()
        self.scheduler.clear()
        self.mode.on_stop()

    def all_notes_off(self) -> None:
        """End everything that sounds, whoever owns it, and forget the plan."""
        self._all_quiet()
        self.notes.end()

    # --- controls

    def command(self, name: str) -> None:
        """Do one of `parameters.COMMANDS`."""
        now = self.clock.now()
        match name:
            case 'panic':
                self.all_notes_off()
            case 'play':
                self.play_now()
            case 'hush':
                self.drop(self.transport.beat_at(now), release=True)
                self.takes.stop()
            case 'next_take' | 'undo' | 'keep' | 'again':
                getattr(self.takes, name)()
            case 'tap':
                self.leaders.own.tap(now)
            case 'start' | 'stop':
                self.leaders.run(name == 'start', now)
                self._changed(self.leaders.check(now))
            case 'learn':
                self.controllers.learn('music.temperature')
            case _:
                raise GenaudioError(f"unknown command '{name}'.")

    def set(self, name: str, value: Any) -> None:
        """Change a live setting.

        Raises
        ------
        GenaudioError
            If the setting is unknown, cannot change while the music plays, or the value is wrong.
        """
        if not self.switches.set(name, value):
            self._use(self.preset.with_live_values({name: value}))

    def learn(self, target: str) -> None:
        """Bind the next controller that moves to `target`."""
        self.controllers.learn(target)
        self.notify(f'Move a controller to bind it to {target}.')

    def load(self, preset: Preset) -> None:
        """Play on with another preset: music already planned is played. What needs a restart stays, and is told."""
        usable, lines = self.preset.reloaded(preset)
        for line in lines:
            self.notify(line)
        self.controllers = Controllers(usable.controllers, [voice.instrument for voice in usable.voices])
        self._use(usable)

    def _use(self, preset: Preset) -> None:
        old, self.preset = self.preset, preset
        self.scheduler.latency_s, self.scheduler.ranges = preset['transport.latency_ms'] / 1000, preset.ranges
        if preset['transport.tempo'] != old['transport.tempo']:
            self.leaders.set_tempo(self.clock.now(), preset['transport.tempo'])
        if preset['music.chords'] != old['music.chords']:
            self.requests.use(preset)
        if old['player.thru'] and not preset['player.thru']:
            self.notes.end(kind='thru')
        if preset['player.mode'] != old['player.mode'] or preset.voices != self.voices:
            self.all_notes_off()
            self.voices = preset.voices
            self._tell_instruments()
            self.mode = MODES[preset['player.mode']](self)

    def _try(self, name: str, value: Any) -> None:
        try:
            if name in COMMANDS:
                self.command(name)
            else:
                self.set(name, value)
        except GenaudioError as error:
            self.notify(str(error))

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take an instruction from the parent process (view, OSC, keys): {'set': name, 'value': ...} and the like.

        A wrong one costs a line.
        """
        try:
            if 'command' in message:
                self.command(str(message['command']))
            elif 'learn' in message:
                self.learn(str(message['learn']))
            elif 'take' in message:
                self.takes.go_to(message['take'] - 1)
            elif 'again' in message:
                self.takes.again(message['again'], message.get('bar'))
            elif 'set' in message:
                self.set(str(message['set']), message.get('value'))
            elif 'preset' in message:
                self.load(message['preset'])
        except GenaudioError as error:
            self.notify(str(error))

    def close(self) -> None:
        """End the music: every note, then the sender."""
        if not self._closed:
            self._closed = True
            self.all_notes_off()
            self.sender.close()
            self.engine.close()
            self.leaders.close()

    def snapshot(self) -> dict[str, Any]:
        """The state that the view shows."""
        return snapshot(self)
