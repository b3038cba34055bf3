"""Sessions of Ardour's for the tests of the plug-ins: made, played, exported, and what a probe in them wrote down."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jack_server import one_request_at_a_time

from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi

LUA = Path(__file__).parent / 'lua'
SECOND = 282240000  # of Ardour's time
BEAT = 24000  # samples at 120 BPM and 48 kHz
_PORT = (
    '[ a {kind} ; lv2:index {index} ; lv2:symbol "{symbol}" ; lv2:name "{symbol}" {more} ]'
)  # fmt: skip
_EVENTS = (
    '; atom:bufferType atom:Sequence ; atom:supports {supports} ; lv2:designation lv2:control'
)  # fmt: skip


class Ardour:
    """Its programs, which find our plug-ins in a home folder of their own.

    Parameters
    ----------
    home : Path
        Gets sessions, plug-ins and settings.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.session = home, home / 'session'
        # With AVX-512, Ardour 7.3 mixes the last three samples of a region wrongly or crashes: plain code for it.
        self.settings = os.environ | {
            'HOME': str(home), 'ARDOUR_FPU_FLAGS': '0', 'LV2_PATH': f'{home / "lv2"}:/usr/lib/lv2'
        }  # fmt: skip

    def __call__(self, *command, seconds: float = 600, **more: str) -> str:
        """Run a program, for so many seconds at most; what it printed."""
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=self.settings | more, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, bundles: Path, name: str) -> str:
        """Put one of the plug-ins where Ardour finds it; the name that it has as a VST3."""
        shutil.copytree(bundles / f'genaudio-{name}.lv2', self.home / 'lv2' / f'genaudio-{name}.lv2')
        shutil.copytree(bundles / f'genaudio-{name}.vst3', vst3 := self.home / '.vst3' / f'genaudio-{name}.vst3')
        # As Ardour's window does at its start, and its programs do not.
        told = self('/usr/lib/ardour7/ardour-vst3-scanner', '-f', '-v', vst3, LD_LIBRARY_PATH='/usr/lib/ardour7')
        return re.search(r'uid="(\w+)"', told)[1]

    def add(self, plugin: str, kind: str, label: str = '-', where: str = 'tracks') -> str:
        return self('ardour7-lua', LUA / 'add_plugin.lua', self.session, 'mix', plugin, kind, label, where)

    def export(self, name: str) -> Path:
        path = self.home / f'{name}.wav'
        self('ardour7-export', '-b', 'float', '-o', path, self.session, 'mix')
        return path

    def probed_export(self) -> 'Take':
        """Export, and return what the probe wrote."""
        written = self.home / 'probe'
        written.unlink(missing_ok=True)
        self.settings['GENAUDIO_PROBE'] = str(written)
        self.export('probed')
        del self.settings['GENAUDIO_PROBE']
        return Take(_blocks(written, 8, int(np.fromfile(written, np.int64, 1)[0])), 0)

    def play(self, *orders, backend: str = 'dummy', seconds: float = 600, **more: str) -> list['Take']:
        """Do what `play.lua` is told to; what the probe, if there is one, wrote between each `take` and `taken`."""
        written = self.home / 'probe'
        written.unlink(missing_ok=True)
        if backend == 'JACK':  # the server of now
            jack = {name: value for name, value in os.environ.items() if name.startswith('JACK_')}
            more = jack | one_request_at_a_time(self.home) | more
        words = [str(word) for order in orders for word in (order if isinstance(order, tuple) else (order,))]
        told = self(
            'ardour7-lua', '-X', LUA / 'play.lua', self.session, 'mix', backend, *words,
            seconds=seconds, GENAUDIO_PROBE=str(written), **more,
        )  # fmt: skip
        found = [tuple(map(int, line.split()[1:])) for line in told.splitlines() if line.startswith('taken')]
        return [Take(_blocks(written, begin, end), missed) for begin, end, missed in found]


@dataclass(frozen=True)
class Block:
    """What a probe got in one call."""

    place: int  # sample of the song that it begins with
    plays: bool
    notes: list[tuple[int, bytes]]  # sample of the block, message
    sound: np.ndarray  # (2, n)

    @property
    def end(self) -> int:
        return self.place + self.sound.shape[1]


@dataclass(frozen=True)
class Take:
    """A stretch of playing."""

    blocks: list[Block]
    missed: int  # blocks for which there was nothing from the engine

    def notes(self) -> list[tuple[int, bytes]]:
        """Messages in order, each with the sample of the song."""
        return [(block.place + at, data) for block in self.blocks for at, data in block.notes]

    def passes(self) -> list['Take']:
        """What plays, from each place that was gone to, up to the next one."""
        found: list[list[Block]] = []
        for block in self.blocks:
            if not block.plays:
                continue
            if not found or found[-1][-1].end != block.place:
                found.append([])
            found[-1].append(block)
        return [Take(blocks, self.missed) for blocks in found]

    def onsets(self) -> list[int]:
        return [at for at, data in self.notes() if data[0] >> 4 == 9 and data[2]]

    def hung(self) -> set[tuple[int, int]]:
        """Keys (channel, note) that are down in the end."""
        down = set()
        for _, data in self.notes():
            if data[0] >> 4 in (8, 9):
                (down.add if data[0] >> 4 == 9 and data[2] else down.discard)((data[0] & 15, data[1]))
        return down

    def sound(self, n: int) -> np.ndarray:
        """What sounded on the first `n` samples of the song, (2, n); not a number where nothing was played."""
        out = np.full((2, n), np.nan, np.float32)
        for block in self.blocks:
            if block.plays and (part := out[:, max(block.place, 0) : max(block.place + block.sound.shape[1], 0)]).size:
                out_of = block.sound[:, max(-block.place, 0) :]
                part[:] = out_of[:, : part.shape[1]]
        return out


def _blocks(path: Path, begin: int, end: int) -> list[Block]:
    data, blocks = np.memmap(path, np.uint8, 'r')[begin:end].tobytes() if end > begin else b'', []
    at = 0
    while at < len(data):
        frames, place, plays, count = np.frombuffer(data, np.int64, 4, at).tolist()
        at += 32
        notes = [
            (int.from_bytes(data[i : i + 4], 'little'), data[i + 4 : i + 8])
            for i in range(at, at + 8 * count, 8)
        ]  # fmt: skip
        at += 8 * count
        blocks.append(Block(place, bool(plays), notes, np.frombuffer(data, np.float32, 2 * frames, at).reshape(2, -1)))
        at += 8 * frames
    return blocks


def build_probe(source: Path, to: Path) -> None:
    """Build the LV2 bundle of `probe.cpp`."""
    to.mkdir(parents=True)
    command = ['g++', '-std=gnu++17', '-O1', '-fPIC', '-shared', '-fvisibility=hidden', source, '-o', to / 'probe.so']
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = ''.join(
        f'@prefix {name}: <{uri}> .\n'
        for name, uri in (
            ('lv2', 'http://lv2plug.in/ns/lv2core#'), ('atom', 'http://lv2plug.in/ns/ext/atom#'),
            ('midi', 'http://lv2plug.in/ns/ext/midi#'), ('time', 'http://lv2plug.in/ns/ext/time#'),
            ('urid', 'http://lv2plug.in/ns/ext/urid#'), ('doap', 'http://usefulinc.com/ns/doap#'),
        )
    )  # fmt: skip
    for name, supports in (('notes', 'time:Position , midi:MidiEvent'), ('sound', 'time:Position')):
        ports = [_PORT.format(kind='lv2:InputPort , atom:AtomPort', index=0, symbol='events',
                              more=_EVENTS.format(supports=supports))]  # fmt: skip
        for index, (way, side) in enumerate((w, s) for w in ('In', 'Out') for s in ('left', 'right')):
            kind, symbol = f'lv2:{way}putPort , lv2:AudioPort', f'{way}_{side}'.lower()
            ports.append(_PORT.format(kind=kind, index=index + 1, symbol=symbol, more=''))
        text += (
            f'<urn:genaudio:probe:{name}> a lv2:Plugin ; lv2:binary <probe.so> ; doap:name "probe of {name}" ; '
            f'lv2:requiredFeature urid:map ; lv2:port {" , ".join(ports)} .\n'
        )
    (to / 'manifest.ttl').write_text(text)


def put_phrase(session: Path) -> None:
    """Two bars of quarter notes on the track of a session that has none, at 120 BPM; a loop over them."""
    file = session / 'interchange' / session.name / 'midifiles' / 'phrase.mid'
    file.parent.mkdir(parents=True, exist_ok=True)
    notes = [Note(float(i), 0.9, note, 80) for i, note in enumerate((60, 62, 64, 65, 67, 65, 64, 62))]
    write_midi(Score([Track.of('piano', notes)], [Tempo(0.0, 120.0)], [Meter(0.0, 4, 4)]), file)
    path, end = session / 'mix.ardour', round(8.2 * SECOND)
    region = (
        '<Region name="phrase" muted="0" opaque="1" locked="0" video-locked="0" automatic="0" whole-file="0" '
        'import="0" external="0" hidden="0" position-locked="0" valid-transients="0" start="b0" length="b15360@b0" '
        'sync-position="b0" ancestral-start="b0" ancestral-length="b15360@b0" stretch="1" shift="1" '
        'layering-index="0" tags="" contents="0" type="midi" first-edit="nothing" id="9002" source-0="9001" '
        'master-source-0="9001" channels="1"/>'
    )
    text = path.read_text().replace(
        '<Sources/>', '<Sources><Source name="phrase.mid" take-id="" type="midi" flags="" id="9001"/></Sources>'
    )
    text = re.sub(r'(<Playlist id="\d+" name="Phrase" type="midi"[^>]*)/>', rf'\1>{region}</Playlist>', text)
    text = text.replace(
        '<Locations/>',
        f'<Locations><Location id="9003" name="session" start="a0" end="a{end}" flags="IsSessionRange" locked="0" '
        'timestamp="0" cue="0"/><Location id="9004" name="Loop" start="b0" end="b15360" flags="IsAutoLoop,IsHidden" '
        'locked="0" cue="0"/></Locations>',
    )
    path.write_text(text)
