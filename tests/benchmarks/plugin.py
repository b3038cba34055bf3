"""What the plug-ins cost in a host, and what they miss beside a rolling Ardour; one JSON line.

    python tests/benchmarks/plugin.py cost 60                their own share of a block of 512 samples at 48 kHz
    python tests/benchmarks/plugin.py ardour stems LV2 10    blocks missed in ten minutes in Ardour on JACK
    python tests/benchmarks/plugin.py ardour band VST3 10

Needs g++ and DPF, jackd and Ardour 7, and the extra `dev`.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / 'tests' / name) for name in ('helpers', 'daw', 'script'))]

import ardour_sessions  # noqa: E402
import conftest as daw  # noqa: E402
from engines import an_engine  # noqa: E402
from jack_server import server  # noqa: E402
from script_sounds import noise_makers  # noqa: E402
from test_band_plugin import BEAT, RULES, play_phrase, state  # noqa: E402

from bridge.daw import building  # noqa: E402
from genaudio_core.script.ardour_session import write_session  # noqa: E402
from genaudio_core.script.composition import compose  # noqa: E402
from genaudio_core.script.mixing import MixSettings  # noqa: E402
from genaudio_core.script.table import EFFECT, FOREGROUND, Row, Script  # noqa: E402

BLOCK, RATE = 512, 48000
PERIOD = 1024  # of JACK
SOUND_RATE = 44100  # of the session with a sound on its track


@contextlib.contextmanager
def hosted(name: str, folder: Path) -> Iterator[daw.ClapHost]:
    """A small CLAP host with one of the plug-ins, its engine there."""
    bundles = building.build()
    program = daw.build_host(bundles)
    folder.mkdir()
    with an_engine():
        host = daw.ClapHost(program, folder)
        host('create', bundles / f'genaudio-{name}.clap')
        if name == 'band':
            (folder / 'session').write_bytes(state(RULES.format(mode='respond', more='')))
            host('load', folder / 'session')
        host('activate', RATE, BLOCK)
        host.wait_for_engine()
        yield host
        host.close()


def cost(seconds: float) -> dict[str, Any]:
    frames, found = round(seconds * RATE), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ('stems', 'band'):
            with hosted(name, Path(folder) / name) as host:
                host.feed(0.1 * np.random.default_rng(1).standard_normal((2, frames + 10 * RATE)).astype(np.float32))
                if name == 'band':
                    play_phrase(host, int(frames / BEAT))
                host('play', 1)
                host('cost', 5 * RATE, BLOCK)  # the first blocks of a stream are no measure
                missed = host.missed
                p50, p99, worst, p99_at_speed, at_speed = map(float, host('cost', frames, BLOCK).split())
                found[name] = {
                    'microseconds_p50': round(p50, 1), 'microseconds_p99': round(p99, 1), 'worst': round(worst, 1),
                    # of the blocks behind which a fixed piece of arithmetic took no longer than usual
                    'microseconds_p99_at_speed': round(p99_at_speed, 1), 'blocks_at_speed': round(at_speed, 4),
                    'share_of_a_block': round(p50 / (1e6 * BLOCK / RATE), 4), 'missed': host.missed - missed,
                    'blocks': frames // BLOCK,
                }  # fmt: skip
    return found


def in_ardour(name: str, kind: str, minutes: int) -> dict[str, Any]:
    """Roll a session of one track for so many minutes on JACK's dummy driver."""
    rate = SOUND_RATE if name == 'stems' else RATE
    with tempfile.TemporaryDirectory() as home, an_engine():
        ardour = ardour_sessions.Ardour(Path(home))
        if name == 'stems':
            row = Row(1, EFFECT, FOREGROUND, 'noise', -10, seconds=60.0 * minutes + 10)
            write_session(
                ardour.session, 'mix', compose(Script((row,)), noise_makers(), MixSettings(channels=2), seed=3)
            )
        else:
            ardour('ardour7-lua', ardour_sessions.LUA / 'make_midi_session.lua', ardour.session, 'mix')
            ardour_sessions.put_phrase(ardour.session)
        uid = ardour.install(building.build(), name)
        ardour.add(f'urn:genaudio:{name}' if kind == 'LV2' else uid, kind)
        each = [word for minute in range(minutes) for word in ('take', ('until', 60 * rate * (minute + 1)), 'taken')]
        with server(PERIOD, rate):
            orders = ('engine', ('locate', 0), 'roll', ('until', rate), *each, 'stop')
            takes = ardour.play(*orders, backend='JACK', seconds=300 + 90 * minutes)
    return {
        'plugin': name, 'format': kind, 'missed_each_minute': [take.missed for take in takes],
        'blocks': minutes * 60 * rate // PERIOD, 'load': round(os.getloadavg()[0], 1),
    }  # fmt: skip


if __name__ == '__main__':
    what, *words = sys.argv[1:]
    print(json.dumps(cost(float(words[0])) if what == 'cost' else in_ardour(words[0], words[1], int(words[2]))))
