"""One *genaudio stems* in a DAW: hops out of the ring that the plug-in writes, stems into the one that it reads.

The music comes in segments: the plug-in says where the transport was started or moved, and the engine begins afresh
there, hops counted from that sample. So a segment becomes the same stems whenever and however fast it is played, which
are those of `StreamingSeparator` on it. Queries change at the hop that holds the sample they belong to.

While the host plays, a backlog that is too long to be worked off is left out; while it renders, it waits for us.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bridge.daw.attending import attend
from bridge.daw.meeting_place import READY, SEGMENT, VALUE, Event, JsonLines, Meeting
from bridge.daw.shown import Shown
from bridge.stems.isolate import model_path
from bridge.stems.lookup import Lookup
from bridge.stems.words import Words
from bridge.system.notices import notice
from bridge.system.real_time import keep_what_is_loaded, real_time_or_preferred
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.processes.child_watch import Heartbeat
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator

STEMS = 4
PATIENCE = 0.25  # seconds of backlog in real time beyond which it goes on at the newest hop
TEXT_WAIT = 10.0  # seconds that a render waits for words to be understood


class StemQueries:
    """The query of each stem as a vector: a word of the plug-in's list, or words of the user's own."""

    def __init__(self, network: MaskNetwork, words: list[str], on_line: Callable[[str], None]):
        self._words = Words(dict(network.card.details.get('words', {})), network.query_dim)
        self._list, self._on_line = words, on_line
        self._known: dict[str, np.ndarray | None] = {'': None}
        self._texts: dict[int, list[str]] = {}
        self._lookup: Lookup | None = None
        self._wanted: list[tuple[int, int]] = [(i + 1, 0) for i in range(STEMS)]
        self.texts = [''] * STEMS  # what each is, for a person
        self.vectors = np.zeros((STEMS, network.query_dim + 1), np.float32)  # the last: see `Query.row`
        self.on = np.zeros(STEMS, np.float32)
        for i in range(STEMS):
            self._settle(i)

    def hear_texts(self, message: dict[str, Any]) -> None:
        """Take the texts of the own words, of a version that events will name."""
        version = message.get('texts')
        if isinstance(version, (int, float)):
            texts = [message.get(f'text{i + 1}') for i in range(STEMS)]
            self._texts = {**dict(list(self._texts.items())[-8:]), int(version): [
                ' '.join(text.split()) if isinstance(text, str) else '' for text in texts
            ]}  # fmt: skip

    def look_ahead(self) -> bool:
        """Understand the newest texts before they are wanted; whether that is done."""
        texts = list(self._texts.values())[-1] if self._texts else []
        return all(text in self._known or self._look_up(text) for text in texts)

    def want(self, event: Event) -> None:
        """Ask for something else, from an event of the plug-in."""
        if 0 <= event.index < STEMS:
            self._wanted[event.index] = (int(event.value + 0.5), int(event.more))

    def is_own(self, stem: int) -> bool:
        """Whether the host has set a stem to words of the user's own."""
        return self._wanted[stem][0] == 0

    def near(self, stem: int) -> list[tuple[str, float]]:
        """Return the model's own words that lie nearest to what a stem is, with their cosines, best first."""
        return self._words.near(self.vectors[stem]) if self.on[stem] else []

    def is_known(self) -> bool:
        """Whether all that is wanted is understood; looks into it where it is not."""
        return all([self._settle(i) for i in range(STEMS)])

    def _settle(self, stem: int) -> bool:
        number, version = self._wanted[stem]
        if number:
            text = self._list[number] if number < len(self._list) else ''
        elif version in self._texts:
            text = self._texts[version][stem]
        else:
            return False  # its line is on its way
        if text not in self._known and not self._look_up(text):
            return False
        vector = self._known[text]
        self.texts[stem], self.on[stem] = text, vector is not None
        if vector is not None:
            self.vectors[stem] = vector
        return True

    def _look_up(self, text: str) -> bool:
        if self._words.knows(text):
            self._known[text] = self._words.vector(text)
            return True
        if self._lookup is None:  # the encoder takes a second to load, and the music goes on
            self._lookup = Lookup(text, self._words.vector)
        if not self._lookup.done:
            return False
        done, self._lookup = self._lookup, None
        try:
            self._known[done.key] = done.answer()
        except GenaudioError as error:
            self._known[done.key] = None
            self._on_line(one_line(error))
        return text in self._known


class StemsSession:
    """The engine between the two rings of a `Meeting`.

    Parameters
    ----------
    words
        The plug-in's list; number 0 stands for own words.
    on_beat
        Called for each hop.
    hear
        Called while a render waits for words: takes the lines that have come.

    Raises
    ------
    GenaudioError
        If the network does not run at the rate of the host.
    """

    def __init__(
        self, meeting: Meeting, network: MaskNetwork, words: list[str], *, on_line: Callable[[str], None] = notice,
        on_beat: Callable[[], None] = lambda: None, hear: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        self.meeting, self._beat, self._hear = meeting, on_beat, hear
        self.asked = StemQueries(network, words, on_line)
        self.engine = StreamingSeparator(network, self.asked.vectors.copy(), meeting.sample_rate)
        self.hop = self.engine.hop
        self._samples = np.zeros((2, self.hop), np.float32)
        self._on = self.asked.on.copy()
        self._at: int | None = None  # the next sample to take; None before the first segment
        self._drop = True  # the next hop out belongs to what was before
        self._told = True  # the engine has what is asked for
        rng = np.random.default_rng(0)
        for _ in range(10):  # until every buffer of the runtime has its size
            self.engine.hop_through(rng.standard_normal((2, self.hop)).astype(np.float32) * 0.1)
            on_beat()

    def work(self) -> int:
        """Work off all that has come in; return the hops."""
        meeting, done = self.meeting, 0
        while True:
            end = meeting.inbox.end
            boundary = meeting.events.next_position(SEGMENT)
            if boundary is not None and boundary < meeting.inbox.begin:  # so long ago that its sound is gone
                self._pass_over(boundary)
                continue
            if self._at is None:
                if boundary is None or boundary >= end:  # with its first sample all that belongs to it is there
                    return done
                self._begin(boundary)
                continue
            stop = end if boundary is None else min(end, boundary)
            if self._at + self.hop <= stop:
                if self._is_late(end):
                    self._jump(stop)
                    continue
                self._hop(self._at + self.hop)
            elif boundary is not None and boundary < end:
                self._finish(boundary)
                self._begin(boundary)
            else:
                if not self._told:
                    self._ask()
                return done
            done += 1
            self._beat()

    # --- segments

    def _begin(self, position: int) -> None:
        for event in self.meeting.events.take(position + 1):
            if event.kind == VALUE:
                self.asked.want(event)
        self._ask()
        self.engine.reset()  # a glide ends, and nothing has been heard
        self._on = self.asked.on.copy()
        self._at, self._drop = position, True

    def _pass_over(self, position: int) -> None:
        for event in self.meeting.events.take(position + 1):
            if event.kind == VALUE:
                self.asked.want(event)
        self._ask()
        self._at = position
        self._jump(self.meeting.inbox.end)

    def _hop(self, to: int) -> None:
        changed = False
        for event in self.meeting.events.take(to):
            if event.kind == VALUE:
                self.asked.want(event)
                changed = True
        if changed or not self._told:
            self._ask()
        if not self.meeting.inbox.read_into(self._samples, to - self.hop):
            self._jump(self.meeting.inbox.end)
            return
        self._through(to - self.hop)
        self._at = to

    def _finish(self, boundary: int) -> None:
        """The segment ends here: what is left of it, and silence until all of it has come out."""
        assert self._at is not None
        left = boundary - self._at
        for n, position in ((left, self._at), (0, self._at + self.hop)) if left else ((0, self._at),):
            self._samples[:] = 0
            if n and not self.meeting.inbox.read_into(part := np.zeros((2, n), np.float32), self._at):
                return
            if n:
                self._samples[:, :n] = part
            self._through(position, boundary)

    def _through(self, position: int, boundary: int | None = None) -> None:
        """Take the hop of samples that begins at `position`; write what came before it, up to `boundary`."""
        stems = self.engine.hop_through(self._samples)
        if (self._on != self.asked.on).any() or not self._on.all():
            ramp = np.linspace(0, 1, self.hop + 1, dtype=np.float32)[1:]
            stems = stems * (self._on[:, None] + (self.asked.on - self._on)[:, None] * ramp)[:, None]
            self._on = self.asked.on.copy()
        if not np.isfinite(stems).all():  # never pass it on; the network starts afresh
            self.engine.bank.reset()
            stems = np.zeros_like(stems)
        drop, self._drop = self._drop, False
        first = position - self.hop
        n = self.hop if boundary is None else min(self.hop, boundary - first)
        if not drop and n > 0 and first >= self.meeting.outbox.end:
            self.meeting.outbox.write(stems.reshape(2 * STEMS, -1)[:, :n], first)

    # --- being late

    def _is_late(self, end: int) -> bool:
        assert self._at is not None
        return not self.meeting.offline and end - self._at > PATIENCE * self.meeting.sample_rate + self.meeting.latency

    def _jump(self, end: int) -> None:
        """Go on at the newest whole hop, with what was heard before it as the past."""
        assert self._at is not None
        before, inbox = self._at, self.meeting.inbox
        self._at = max(before, before + (end - before) // self.hop * self.hop)
        self.meeting.words[Meeting.SKIPPED] += (self._at - before) // self.hop
        n = min(self.engine.n_fft, self._at - inbox.begin)
        past = np.zeros((2, max(n, 0)), np.float32)
        if n > 0 and inbox.read_into(past, self._at - n):
            self.engine.analysis.preload(past)
        self.engine.bank.slot.synthesis.reset()
        self._drop = True
        if self._at > self.meeting.outbox.end:  # a render need not wait for what will never be there
            self.meeting.outbox.write(np.zeros((2 * STEMS, 0), np.float32), self._at)

    # --- what is asked for

    def _ask(self) -> None:
        """Give the engine what the stems are asked for; where a render is made, not before it is understood."""
        until = time.monotonic() + TEXT_WAIT
        while not (known := self.asked.is_known()) and self.meeting.offline and time.monotonic() < until:
            self._beat()
            self._hear()
            time.sleep(0.001)
        self._told = known
        if (self.asked.vectors != self.engine.bank.slot.queries).any():
            self.engine.set_queries(self.asked.vectors.copy())


class StemsPage:
    """What a panel shows of a session, and takes from its pages: words. Levels are parameters of the plug-in.

    Parameters
    ----------
    send : callable
        Tells the plug-in something.
    """

    def __init__(self, session: StemsSession, shown: Shown, send: Callable[[dict[str, Any]], None]):
        self._session, self._shown, self._send = session, shown, send
        self._near: tuple[bytes, list[dict[str, Any]]] = b'', []

    def look(self) -> None:
        """Do what the pages say, and let them see what is new, where somebody looks."""
        while self._shown.messages:
            self._take(self._shown.messages.popleft())
        if self._shown.is_due():
            self._shown.tell('state', self._state())

    def _take(self, message: dict[str, Any]) -> None:
        if 'query' not in message:
            self._shown.tell(
                'line', 'In a DAW, levels and switches of stems are parameters of the plug-in: turn them there.'
            )
            return
        stem, text = message['stem'], ' '.join(str(message['query']).split())
        if not 1 <= stem <= STEMS:
            self._shown.tell('line', f'There is no stem {stem}: they are 1 to {STEMS}.')
            return
        self._send({'set_texts': 1, f'text{stem}': text})
        asked = self._session.asked
        if not asked.is_own(stem - 1):
            now = asked.texts[stem - 1]
            line = f"Stem {stem} is '{now}' in your DAW: set its query there to 'own words' to hear '{text}'."
            self._shown.tell('line', line)

    def _state(self) -> dict[str, Any]:
        asked, meeting = self._session.asked, self._session.meeting
        known = asked.vectors.tobytes() + repr((asked.texts, asked.on.tolist())).encode()
        if known != self._near[0]:
            self._near = known, [
                {'name': text, 'query': text, 'all_but': bool(asked.vectors[i, -1]),
                 'near': [(word, round(cosine, 2)) for word, cosine in asked.near(i)]}
                for i, text in enumerate(asked.texts)
            ]  # fmt: skip
        return {
            'stems': self._near[1], 'outputs': [*asked.texts, 'rest'], 'engine': 'ready',
            'latency_ms': round(1000 * meeting.latency / meeting.sample_rate, 1), 'sample_rate': meeting.sample_rate,
            'figures': {
                'underruns': int(meeting.words[Meeting.MISSED]), 'left_out': int(meeting.words[Meeting.SKIPPED]),
            },
        }  # fmt: skip


def load_network() -> tuple[str, MaskNetwork]:
    """Return path and network of the live separator."""
    path = model_path(None)
    return path, MaskNetwork.load(path)


def run_stems(
    lines: JsonLines,
    memory: int,
    hello: dict[str, Any],
    heart: Heartbeat,
    told_to_end: Callable[[], bool],
    loaded: tuple[str, MaskNetwork],
    shown: Shown,
) -> None:
    """Play for one plug-in until it is gone (EOFError) or we are told to end.

    Raises
    ------
    GenaudioError
        If it cannot be played for.
    EOFError
        If the plug-in is gone.
    """
    path, network = loaded
    asked: list[StemQueries] = []
    learns = True

    def hear() -> None:
        nonlocal learns
        for message in lines.receive():
            asked[0].hear_texts(message)
            learns = True
        if learns and asked[0].look_ahead():
            learns = False
            lines.send({'state': 'ready', 'model': Path(path).name, 'hash': network.card.sha256})
        page.look()

    def say(line: str) -> None:
        lines.send({'line': line})
        shown.tell('line', line)

    session = StemsSession(
        meeting := Meeting(memory), network, [str(word) for word in hello.get('words') or []],
        on_line=say, on_beat=heart.beat, hear=hear,
    )  # fmt: skip
    page = StemsPage(session, shown, lines.send)
    asked.append(session.asked)
    session.asked.hear_texts(hello)
    if (wanted := hello.get('hash')) and wanted != network.card.sha256:
        lines.send({'line': 'The session was saved with another model of live stems: it may sound different.'})
    keep_what_is_loaded()
    real_time_or_preferred()
    meeting.say_state(READY)
    hear()
    attend(meeting, heart, told_to_end, session.work, hear)
