"""Ableton Link with a real peer in a process of its own."""

import json
import subprocess
import sys

import pytest

pytest.importorskip('link', reason='needs the extra link')

from bridge.system.waiting import wait_until
from bridge.transport.transport import LinkLeader

# A peer that takes orders: {"tempo": 90}, {"play": true}.
PEER = """
import json, sys, link
peer = link.Link(100.0)
peer.enabled = peer.startStopSyncEnabled = True
print('here', flush=True)
for line in sys.stdin:
    order = json.loads(line)
    state = peer.captureSessionState()
    now = peer.clock().micros()
    if 'tempo' in order:
        state.setTempo(order['tempo'], now)
    if 'play' in order:
        state.setIsPlaying(order['play'], now)
    peer.commitSessionState(state)
    print(json.dumps({'beat': state.beatAtTime(now, 4.0), 'micros': now}), flush=True)
"""


class Peer:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-c', PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout and self.process.stdout.readline() == 'here\n'

    def tell(self, **order: object) -> dict:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def session():
    leader, peer = LinkLeader(120.0), Peer()
    try:
        if not wait_until(lambda: leader._link.numPeers() == 1, 10):
            pytest.skip('this machine lets no multicast through')
        yield leader, peer
    finally:
        peer.close()
        leader.close()


def until(leader, kind, *, tempo=None):
    """Check the leader until it tells of a change of `kind` (and has `tempo`)."""
    seen = []

    def came() -> bool:
        seen.extend(change.kind for change in leader.check(leader._link.clock().micros() / 1e6))
        return kind in seen and (tempo is None or abs(leader.line.tempo - tempo) < 0.01)

    assert wait_until(came, 10), seen


def test_tempo_beat_start_and_stop_come_from_the_peer(session):
    leader, peer = session
    until(leader, 'start')
    peer.tell(tempo=91.0)
    until(leader, 'tempo', tempo=91.0)
    theirs = peer.tell()
    leader.check(theirs['micros'] / 1e6)
    micros = leader._link.clock().micros()
    ours = leader._link.captureSessionState().beatAtTime(micros, 4.0)
    passed = (micros - theirs['micros']) / 1e6 * 91.0 / 60
    phase = (ours - theirs['beat'] - passed) % 4.0  # Link shares the place in the bar, not the count of bars
    assert min(phase, 4.0 - phase) < 0.05

    peer.tell(play=True)
    assert wait_until(lambda: (leader.check(0.0), leader._synced)[1], 10)
    peer.tell(play=False)
    until(leader, 'stop')
    assert not leader.rolling
    peer.tell(play=True)
    until(leader, 'start')
    assert leader.rolling
