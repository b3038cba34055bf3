"""All of a session stopped for seconds, as Ctrl-Z or a laptop's lid does: it goes on, and takes nobody for hung.

It has a server of its own, with long periods: JACK tells clients of every cycle that one of them missed, one after the
other, and lets nobody in meanwhile. With periods of 256 samples that takes minutes.
"""

import os
import signal

import pytest
from jack_server import available, server
from live_daemon import daemon as daemon  # fixture
from live_daemon import state

from bridge.system.waiting import wait_until

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


@pytest.fixture(scope='module')
def jack_running():
    with server(2048):
        yield


def test_a_short_halt_of_everything_is_no_hang(daemon):
    daemon.play()
    os.killpg(daemon.process.pid, signal.SIGSTOP)
    assert wait_until(lambda: state(daemon.process.pid) == 'T', 20)
    assert not wait_until(lambda: daemon.process.poll() is not None, 6)
    os.killpg(daemon.process.pid, signal.SIGCONT)
    heard = len(daemon.desk.heard)
    assert wait_until(lambda: len(daemon.desk.heard) > heard + 4, 30)
    assert 'hangs' not in daemon.log.read_text()
