"""The whole daemon as a musician runs it: in a terminal, and through a restart of the JACK server."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest
from jack_server import Desk, available, server
from live_daemon import FREE, Daemon

from bridge.system.waiting import wait_until

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


def test_the_server_goes_and_comes_back(tmp_path):
    """Music waits for JACK, ends what sounded, and plays again when a server answers."""
    with contextlib.ExitStack() as first:
        first.enter_context(server(256))
        desk = Desk('desk', ('in',), ('out',))
        daemon = Daemon(tmp_path, desk)
        try:
            daemon.play()
            desk.close()  # a client of ours that outlives its server ends Python when it is collected
            first.close()
            assert daemon.said('The JACK server is gone')
            with server(256), Desk('desk', ('in',), ('out',)) as desk:
                assert daemon.said('JACK is back')
                daemon.desk = desk
                daemon.play()
                os.kill(daemon.process.pid, signal.SIGINT)
                assert daemon.process.wait(timeout=20) == 0
                assert daemon.quiet()
        finally:
            daemon.close()
    assert 'Fault' not in daemon.log.read_text()


class Terminal:
    """A program in a terminal of its own, 120 columns wide."""

    def __init__(self, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 120))
        self.settings = termios.tcgetattr(theirs)
        self._theirs = theirs
        os.set_blocking(self._ours, False)
        environment = {**os.environ, 'TERM': 'xterm-256color', 'NO_COLOR': '1'}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        self.text = ''

    def shows(self, pattern: str, seconds: float = 30) -> bool:
        def found() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.text += re.sub(
                    r'\x1b\[[0-9;?]*[a-zA-Z]', '', os.read(self._ours, 1 << 16).decode(errors='replace')
                )
            return re.search(pattern, self.text[-20000:]) is not None

        return wait_until(found, seconds)

    def types(self, keys: str) -> None:
        self.text = ''
        os.write(self._ours, keys.encode())

    def restored(self) -> bool:
        """Whether the terminal echoes and waits for lines as before."""
        return termios.tcgetattr(self._theirs)[3] == self.settings[3]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


def test_the_view_in_a_terminal(tmp_path):
    preset = tmp_path / 'free.toml'
    preset.write_text(FREE)
    with server(256):
        terminal = Terminal(sys.executable, '-m', 'bridge.cli', 'live', str(preset), '--folder', str(tmp_path))
        try:
            assert terminal.shows(r'transport +stopped'), terminal.text
            terminal.types('+')
            assert terminal.shows(r'temperature 1\.05'), terminal.text
            terminal.types('s')
            assert terminal.shows(r'transport +rolling +bar [2-9]'), terminal.text
            assert terminal.shows(r'[1-9][0-9]* played so far'), terminal.text
            terminal.types('2')
            assert terminal.shows(r'band +take_over'), terminal.text
            terminal.types('q')
            assert wait_until(lambda: (terminal.shows('"heard"', 0), terminal.process.poll() is not None)[1], 20)
            assert terminal.process.returncode == 0
            assert terminal.restored()
        finally:
            terminal.close()
