"""What the panel costs, of a busy band on a JACK server of its own; one JSON line.

    python tests/benchmarks/panel.py frames 60     an open page: frames a second, share of a core, memory and its slope
    python tests/benchmarks/panel.py flood 40 4    hand-over with and without 10,000 messages a second at the socket,
                                                   four turns of 40 seconds of each

Needs jackd, Chromium and the extra `dev`.
"""

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / 'docs'), str(ROOT)]

import panel as pictures  # noqa: E402  # docs/panel.py

EVERY = 5.0  # seconds between two looks at the memory
RATE = 10_000  # messages a second
COUNT = """(ms) => new Promise((done) => {
    let n = 0;
    const end = performance.now() + ms;
    const turn = () => {
        n += 1;
        if (performance.now() < end) requestAnimationFrame(turn);
        else done(n);
    };
    requestAnimationFrame(turn);
})"""


def memory(pid: int) -> float:
    """MiB that a process has for itself, and its share of what it shares."""
    for line in (Path('/proc') / str(pid) / 'smaps_rollup').read_text().splitlines():
        if line.startswith('Pss:'):
            return int(line.split()[1]) / 1024
    return 0.0


def seconds_used(pid: int) -> float:
    ticks = (Path('/proc') / str(pid) / 'stat').read_text().rsplit(')', 1)[1].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')


def server_of(link: str) -> int:
    """The process that serves the pages: the child of those that have the door."""
    port = re.search(r':(\d+)/', link)
    listens = subprocess.run(['ss', '-tlnp'], capture_output=True, text=True).stdout
    own = next(line for line in listens.splitlines() if port and f':{port[1]} ' in line)
    return max(map(int, re.findall(r'pid=(\d+)', own)))


def pages() -> list[int]:
    """The renderers of Chromium that we have started."""
    listed = subprocess.run(['ps', '-eo', 'pid,ppid,args'], capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in listed]
    ours, grown = {os.getpid()}, True
    while grown:
        more = {int(pid) for pid, parent, _ in rows if int(parent) in ours} | ours
        ours, grown = more, more != ours
    return [int(pid) for pid, _, args in rows if int(pid) in ours and '--type=renderer' in args]


def slope(looks: list[tuple[float, float]]) -> float:
    """MiB an hour, of (seconds, MiB)."""
    at, size = np.array(looks).T
    return float(np.polyfit(at, size, 1)[0] * 3600)


def frames(seconds: float) -> dict[str, Any]:
    with pictures.server(), pictures.chromium() as browser:
        player = pictures.Pianist()
        with pictures.session(*pictures.BAND) as link:
            page = browser.new_page(viewport={'width': 1280, 'height': 800})
            page.set_default_timeout(120_000)
            page.goto(link)
            page.wait_for_function('() => panel.played.length > 10')
            server, looks = server_of(link), []
            before, began, drawn = seconds_used(server), time.monotonic(), 0
            while (past := time.monotonic() - began) < seconds:
                looks.append((past, memory(server), sum(map(memory, pages()))))
                drawn += page.evaluate(COUNT, 1000 * EVERY)
                if server_of(link) != server:
                    raise SystemExit('The panel has started again meanwhile: this machine is too busy to measure it.')
            past = time.monotonic() - began
            used = seconds_used(server) - before
        player.client.deactivate()
        player.client.close()
    later = [one for one in looks if one[0] >= past / 4]  # a page grows until its lists are full
    return {
        'seconds': round(past, 1), 'frames_a_second': round(drawn / (EVERY * len(looks)), 1),
        'server_percent_of_a_core': round(100 * used / past, 2),
        'server_mib': [round(looks[0][1], 1), round(looks[-1][1], 1)],
        'page_mib': [round(looks[0][2], 1), round(looks[-1][2], 1)],
        'server_mib_an_hour': round(slope([(at, one) for at, one, _ in later]), 1),
        'page_mib_an_hour': round(slope([(at, one) for at, _, one in later]), 1), 'load': round(os.getloadavg()[0], 1),
    }  # fmt: skip


FLOOD = """
import contextlib, sys, time
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
while True:  # who answers no ping for the flood of his own is let go after a while: then he comes again
    with contextlib.suppress(WebSocketException, OSError), connect(sys.argv[1]) as socket:
        began, sent = time.monotonic(), 0
        while True:
            for _ in range(100):
                socket.send('{"set": "music.velocity", "value": 1.0}')
            sent += 100
            time.sleep(max(began + sent / RATE - time.monotonic(), 0))
""".replace('RATE', str(RATE))


def flood(seconds: float, turns: int) -> dict[str, Any]:
    """Hand-overs of a real band, as its session tells them, by turns without and with a flood."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    found: dict[bool, dict[str, list[float]]] = {on: {'ms': [], 'missed': [], 'units': []} for on in (False, True)}
    with pictures.server():
        player = pictures.Pianist()
        with pictures.session(*pictures.BAND) as link:
            address = link.replace('http://', 'ws://').replace('/?', '/socket?')
            told: dict[str, Any] = {'lost': -1}

            def hear() -> None:
                while True:
                    told['lost'] += 1  # times that the panel itself was not there
                    with contextlib.suppress(WebSocketException, OSError), connect(address, max_size=None) as socket:
                        for message in socket:
                            told.update(json.loads(message).get('state', {}))
                    time.sleep(0.2)

            threading.Thread(target=hear, daemon=True).start()
            while told.get('played', 0) < 20:
                time.sleep(0.1)
            for turn in range(2 * turns):
                on = bool(turn % 2)
                flooding = subprocess.Popen([sys.executable, '-c', FLOOD, address]) if on else None
                time.sleep(2)
                missed, units, last, end = told['missed'], told['units'], None, time.monotonic() + seconds
                while time.monotonic() < end:
                    if told['handover_ms'] != last:
                        last = told['handover_ms']
                        found[on]['ms'].append(last)
                    time.sleep(0.02)
                found[on]['missed'].append(told['missed'] - missed)
                found[on]['units'].append(told['units'] - units)
                if flooding is not None:
                    flooding.kill()
                    flooding.wait()
        player.client.deactivate()
        player.client.close()
    result: dict[str, Any] = {'panel_lost': told['lost'], 'load': round(os.getloadavg()[0], 1)}
    for on, what in ((False, 'without'), (True, 'with')):
        ms = sorted(found[on]['ms'])
        result[what] = {
            'handovers': len(ms), 'handover_ms_p50': round(statistics.median(ms), 2),
            'handover_ms_p90': round(ms[int(0.9 * len(ms))], 2), 'missed': sum(found[on]['missed']),
            'deadlines': sum(found[on]['units']),
        }  # fmt: skip
    return result


if __name__ == '__main__':
    what, *numbers = sys.argv[1:]
    print(json.dumps(frames(float(numbers[0])) if what == 'frames' else flood(float(numbers[0]), int(numbers[1]))))
