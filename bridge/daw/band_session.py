"""One *genaudio band* in a DAW: the session that `live` and `rehearse` run, on the host's time.

The plug-in says with each block how far time has come, and with events, each at its sample, what the host does and what
is played. The session's clock is simulated and goes from event to event: it never stops at the end of a block, so the
same music comes out of blocks of any size, however fast they come. What the band is going to play leaves `AHEAD` before
its time, stamped with its beat.

A start from standstill while the host renders begins afresh, with clock, memory and seeds as if newly made: so a bounce
is the same notes each time.
"""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.band.arrange import make_arranger
from bridge.daw import band_state
from bridge.daw.attending import attend
from bridge.daw.band_state import BandState
from bridge.daw.host_sender import HostSender
from bridge.daw.meeting_place import METER, MIDI, READY, START, STOP, TEMPO, VALUE, Event, JsonLines, Meeting
from bridge.daw.shown import Shown
from bridge.live.session import MAX_SLEEP, Session
from bridge.live.snapshot import Scenes
from bridge.musicians.choose import load_musicians, model_path
from bridge.musicians.musician import Musician
from bridge.musicians.thread_engine import ThreadEngine
from bridge.settings.band_preset import Preset
from bridge.system.clock import SimulatedClock
from bridge.system.real_time import SWITCH, keep_what_is_loaded, real_time_or_preferred
from bridge.transport.host_leader import HostLeader
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.processes.child_watch import Heartbeat

if TYPE_CHECKING:
    from genaudio_core.arranging.part_model import PartModel

LATE = 1.0  # seconds of backlog in real time beyond which the band goes on at what is new
STEP = 1e-4  # seconds between two steps, at least
FAULTS = 20  # exceptions of the session after which the process ends, and another one is started
_FIXED = ('transport.beats_per_bar', 'transport.beat_unit', 'player.instrument', 'music.model', 'ports.outputs')
"""Settings that a session keeps: where one changes, another session goes on."""


class HostBand:
    """The engine between the queues of a `Meeting`.

    Parameters
    ----------
    make_engine : callable
        Makes the engine for a model (as 'music.model' names it) on a clock.
    state : BandState
    say : callable
        Gets one line for the person.
    """

    def __init__(
        self, meeting: Meeting, make_engine: Callable[[str, SimulatedClock], ThreadEngine], state: BandState,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.meeting, self.state, self._say, self._make_engine = meeting, state, say, make_engine
        self.clock = SimulatedClock()
        self._model = state.preset((4, 4))['music.model']
        self.engine = make_engine(self._model, self.clock)
        self._arranger: PartModel | None = None
        self.session: Session | None = None
        self.ahead = meeting.latency / meeting.sample_rate  # seconds
        self.leader = HostLeader()
        self.sender = self._new_sender()
        self.faults = 0
        self._meter = (4, 4)
        self._afresh = True  # the next start begins with nothing
        self._origin = 0  # position of the sample at which the clock was 0
        self._done: int | None = None  # position up to which time has passed
        self._wake = 0.0
        self._dirty = True  # something was set that the session does not know
        self._pressed: list[int] = []  # buttons, since the last step
        self._settled: Preset | None = None
        self._scenes: tuple[Session, Scenes] | None = None  # of whoever plays

    # --- time

    def work(self) -> bool:
        """Let time pass as far as the host has come; whether it did."""
        meeting, end = self.meeting, self.meeting.inbox.end
        if self._done is None:
            self._done = self._origin = end if (first := meeting.events.first) is None else first
        if end <= self._done:
            return False
        self.engine.exact = meeting.offline
        skips = not meeting.offline and end - self._done > LATE * meeting.sample_rate
        for event in meeting.events.take(end):
            if not skips:
                self._run_to(self._seconds(event.position))
            self.clock.advance_to(self._seconds(event.position))
            self._guard(self._take, event, skips)
        if skips:
            self.clock.advance_to(self._seconds(end))
        elif (news := self.engine.next_time()) is not None:
            self._wake = min(self._wake, max(news, self.clock.now()))
        self._run_to(self._seconds(end))
        self._done = end
        if end > meeting.outbox.end:
            meeting.outbox.write(np.zeros((0, 0), np.float32), end)
        return True

    def _seconds(self, position: int) -> float:
        return (position - self._origin) / self.meeting.sample_rate

    def _run_to(self, until: float) -> None:
        """Do every step that is due before `until`."""
        while self._wake < until:
            self.clock.advance_to(self._wake)
            self._wake = self.clock.now() + MAX_SLEEP
            self._guard(self._step)

    def _step(self) -> None:
        now = self.clock.now()
        if self._dirty:
            self._settle()
        assert self.session is not None
        while self._pressed:
            self.session.apply({'command': band_state.BUTTONS[self._pressed.pop(0)]})
        before = self.session.missed
        self._wake = max(self.session.step(), now + STEP)
        self.meeting.words[Meeting.SKIPPED] += self.session.missed - before
        self.sender.run()
        while self.session.takes.gathered:
            self.state.keep(self.session.takes.gathered.popleft())

    def _guard(self, do: Callable[..., None], *arguments: Any) -> None:
        """Do it; a bug here must not leave a note hanging or stop the music."""
        try:
            do(*arguments)
        except GenaudioError as error:
            self._say(one_line(error))
        except Exception as error:
            self.faults += 1
            self._say(f'Fault in the session ({type(error).__name__}: {error}); playing on.')
            self.sender.silence()
            self.session, self._pressed = None, []
            self.settings_changed()
            if self.faults >= FAULTS:
                raise

    # --- what the plug-in says

    def _take(self, event: Event, skips: bool) -> None:
        now = self.clock.now()
        match event.kind:
            case x if x == VALUE:
                self._set(event.index, event.value)
            case x if x == METER:
                self._meter, self._afresh = (event.index & 255, event.index >> 8 & 255), bool(event.index >> 16)
                self._dirty = True
            case x if x == START:
                if self._afresh:
                    self._begin_afresh(event.position)
                    now = 0.0
                self._turn(event.index)
                self.leader.start(now, event.value, event.more)
            case x if x == STOP:
                self._turn(event.index)
                self.leader.stop(now)
            case x if x == TEMPO:
                self.leader.bend(now, event.value, event.more)
            case x if x == MIDI and not skips:
                if self._dirty or self.leader.has_news:  # what comes with a start is heard after it
                    self._step()
                assert self.session is not None
                data = (event.index & 0xFFFFFFFF).to_bytes(4, 'little')
                self.session.receive(0, data[: min(data[3], 3)], now)
            case _:
                return
        self._wake = min(self._wake, self.clock.now())

    def _turn(self, turn: int) -> None:
        self.sender.begin(turn)
        if self.session is not None:
            self.session.notes.forget_programs()

    def _set(self, number: int, value: float) -> None:
        rises = value > 0.5 and not self.state.is_on(number)
        self.state.move(number, value)
        if number in band_state.BUTTONS:
            self._pressed += [number] * rises
        else:
            self._dirty = True

    def _begin_afresh(self, position: int) -> None:
        self._origin, self.clock, self._wake = position, SimulatedClock(), 0.0
        self.leader = HostLeader()
        self.sender = self._new_sender()
        self.engine.begin_afresh(self.clock)
        self.session, self._settled, self._dirty = None, None, True

    def _new_sender(self) -> HostSender:
        return HostSender(self.clock, self.leader, self.meeting.answers.put, self.ahead, self._part_of)

    # --- what it is set to

    def settings_changed(self) -> None:
        """Something of the state is another, which the session will know with its next step."""
        self._dirty, self._wake = True, self.clock.now()

    def _settle(self) -> None:
        """Let the session play what is set: the same one where it can, another one where it must."""
        self._dirty = False
        wanted, before = self.state.preset(self._meter), self._settled
        if wanted == before and self.session is not None:
            return
        self._settled = wanted
        if wanted['player.mode'] == 'arrange' and self._arranger is None:
            self._arranger = make_arranger(wanted['music.model'])  # what is due meanwhile has left
            if self.session is not None:
                self.session.arranger = self._arranger
        if self.session is not None and before is not None and all(wanted[one] == before[one] for one in _FIXED):
            self.session.load(wanted)
            return
        if self.session is not None:
            self.session.all_notes_off()
        if wanted['music.model'] != self._model:
            self._model = wanted['music.model']
            self.engine.close()
            self.engine = self._make_engine(self._model, self.clock)
            self._arranger = None
        self.session = Session(
            wanted, self.clock, self.sender, self.engine, leader=self.leader, horizon=self.ahead + MAX_SLEEP,
            notify=self._say, arranger=self._arranger,
        )  # fmt: skip
        if self.leader.rolling and not self.leader.has_news:
            now = self.clock.now()
            self.leader.start(now, self.leader.beat_at(now), self.leader.line.tempo)

    # --- a panel

    def show(self, shown: Shown) -> None:
        """Do what its pages say, and let them see what plays, where somebody looks."""
        while shown.messages:
            self._guard(self._obey, shown.messages.popleft())
        if not shown.is_due():
            return
        if self.session is None:  # the host has not played yet
            self._guard(self._settle)
        if (session := self.session) is None:
            return
        if self._scenes is None or self._scenes[0] is not session:
            self._scenes = session, Scenes(session)
        scenes = self._scenes[1]
        shown.tell('state', session.snapshot())
        if shown.tell('scene', scenes.make()):
            scenes.told()

    def _obey(self, message: dict[str, Any]) -> None:
        """Do what a page says; what it turns is held by the host's session, until the host turns the same."""
        session = self.session
        if session is None:
            return
        if not message.keys() & {'set', 'command', 'take', 'again'}:
            raise GenaudioError('In a DAW, presets, controllers and sounds are those of the plug-in and its host.')
        if 'set' not in message:
            session.apply(message)
        elif not session.switches.set(name := message['set'], value := message['value']):
            self.state.turn(name, value, session.preset)
            self._settle()  # now: a host that stands still gives no time

    def _part_of(self, output: int, channel: int) -> int:
        voices = self.session.voices if self.session is not None else ()
        return next((i for i, voice in enumerate(voices) if (voice.output, voice.channel) == (output, channel)), 127)


def run_band(
    lines: JsonLines, memory: int, hello: dict[str, Any], heart: Heartbeat, told_to_end: Callable[[], bool],
    shown: Shown,
) -> None:  # fmt: skip
    """Play for one plug-in until it is gone (EOFError) or we are told to end.

    Raises
    ------
    GenaudioError
        If it cannot be played for.
    EOFError
        If the plug-in is gone.
    """
    sys.setswitchinterval(SWITCH)
    meeting = Meeting(memory)

    def say(line: str) -> None:
        lines.send({'line': line})
        shown.tell('line', line)

    def beat() -> None:
        heart.beat()
        meeting.say_alive()

    state = BandState(hello, say)

    def make_engine(name: str, clock: SimulatedClock) -> ThreadEngine:
        def load() -> Callable[[], Musician]:
            make, state.model_hash = load_musicians(name)
            state.model = path.name if (path := model_path(name)) else 'rules'
            state.changed = True
            return make

        return ThreadEngine(load, clock, on_beat=beat, notify=say)

    def hear() -> None:
        if any([state.hear(message) for message in lines.receive()]):
            band.settings_changed()
        band.show(shown)
        if state.changed:
            lines.send({'version': state.version, 'session': state.as_text()})

    band = HostBand(meeting, make_engine, state, say)
    try:
        while not (band.engine.ready or band.engine.failed):
            heart.beat()
            if told_to_end():
                return
            time.sleep(0.01)
        if state.saved_hash and state.saved_hash != state.model_hash:
            say('The session was saved with another model of the band: it may play other notes.')
        keep_what_is_loaded()
        real_time_or_preferred()
        meeting.say_state(READY)
        lines.send({'state': 'ready'})
        attend(meeting, heart, told_to_end, band.work, hear)
    finally:
        band.engine.close()
