"""A real Ray cluster on this machine: each node in a network namespace, with an address of its own (Linux, root)."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

NETWORK = '10.128.77'
PORT, CLIENT_PORT, ENVIRONMENT_PORT = 6379, 10001, 52367
SETTINGS = {
    # A busy machine takes its time over each of the dozen Python processes of a cluster.
    'RAY_raylet_start_wait_time_s': '600', 'RAY_agent_register_timeout_ms': '600000',
    'RAY_worker_register_timeout_seconds': '600', 'RAY_gcs_server_port_wait_time_s': '300',
    'RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S': '600', 'RAY_enable_metrics_collection': '0',
    'RAY_USAGE_STATS_ENABLED': '0',
    # A token that lies in the home folder, of any cluster before, would be asked for.
    'RAY_AUTH_MODE': 'disabled',
    # A node that is gone is missed after forty seconds, and one that has no turn for a while is not.
    'RAY_health_check_timeout_ms': '5000', 'RAY_health_check_failure_threshold': '5',
    # By itself Ray gives its workers only what nobody else wants: on a busy machine next to nothing.
    'RAY_worker_niceness': '0',
    'OMP_NUM_THREADS': '1',
}  # fmt: skip


def why_not() -> str:
    """Why there can be no such cluster here; nothing if there can."""
    if os.name != 'posix' or sys.platform != 'linux' or os.getuid() != 0 or not shutil.which('ip'):
        return 'needs root and ip (iproute2) on Linux'
    made = subprocess.run(['ip', 'netns', 'add', 'genaudio-probe'], capture_output=True)
    subprocess.run(['ip', 'netns', 'del', 'genaudio-probe'], capture_output=True)
    return '' if made.returncode == 0 else 'needs the right to make network namespaces'


class RayCluster:
    """A head, which does no work, and nodes with one processor each; all of them gone at the end of the block.

    Parameters
    ----------
    nodes
        That work.
    paths
        For Python to look for modules in, on each node.
    """

    def __init__(self, nodes: int, paths: list[str]) -> None:
        self._nodes, self._names, self._folder = nodes, [], Path(tempfile.mkdtemp(prefix='ray-'))
        self._environment = {**os.environ, **SETTINGS, 'PYTHONPATH': os.pathsep.join(paths),
                             'XDG_CACHE_HOME': str(self._folder / 'cache')}  # fmt: skip
        self._bridge = f'gr{os.getpid() % 100_000}'

    def __enter__(self) -> 'RayCluster':
        _take_away_what_killed_runs_left()
        try:
            _ip('link', 'add', self._bridge, 'type', 'bridge')
            _ip('addr', 'add', f'{NETWORK}.254/24', 'dev', self._bridge)
            _ip('link', 'set', self._bridge, 'up')
            self._start(0, '--head', '--port', str(PORT), '--include-dashboard', 'false', '--num-cpus', '0',
                        '--ray-client-server-port', str(CLIENT_PORT))  # fmt: skip
            for i in range(1, self._nodes + 1):
                self._start(i, '--address', f'{NETWORK}.1:{PORT}', '--num-cpus', '1')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            _take_away(name)
        subprocess.run(['ip', 'link', 'del', self._bridge], capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, node: int) -> str:
        """Of node 1, 2 ... or of the head, 0."""
        return f'{NETWORK}.{node + 1}'

    @property
    def for_clients(self) -> str:
        """The address that a program outside of the cluster reaches it at."""
        return f'ray://{self.address(0)}:{CLIENT_PORT}'

    def inside(self, node: int, *command: str) -> list[str]:
        """A command as it is run on a node."""
        return ['ip', 'netns', 'exec', self._names[node], *command]

    def kill(self, node: int) -> None:
        """End everything on a node at once, as if it lost its power; its network goes with it."""
        subprocess.run(['ip', 'link', 'set', f'{self._bridge}v{node}', 'down'], capture_output=True)
        _end_all(self._names[node])

    @contextlib.contextmanager
    def clients_unanswered(self):
        """Within the block, whoever reaches the cluster from outside has a connection and gets no answer."""
        pids = [int(pid) for pid in _output('ip', 'netns', 'pids', self._names[0]).split()
                if b'ray.util.client.server' in Path('/proc', pid, 'cmdline').read_bytes()]  # fmt: skip
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _start(self, i: int, *options: str) -> None:
        name, link, temporary = f'{self._bridge}n{i}', f'{self._bridge}v{i}', self._folder / str(i)
        self._names.append(name)
        _ip('netns', 'add', name)
        _ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
        _ip('link', 'set', link, 'master', self._bridge, 'up')
        _ip('-n', name, 'addr', 'add', f'{self.address(i)}/24', 'dev', 'eth0')
        _ip('-n', name, 'link', 'set', 'eth0', 'up')
        _ip('-n', name, 'link', 'set', 'lo', 'up')
        command = self.inside(
            i, sys.executable, '-m', 'ray.scripts.scripts', 'start', *options, '--node-ip-address', self.address(i),
            '--temp-dir', str(temporary), '--object-store-memory', '80000000', '--include-log-monitor', 'false',
            '--runtime-env-agent-port', str(ENVIRONMENT_PORT), '--disable-usage-stats',
        )  # fmt: skip
        with _ports_told(temporary):
            done = subprocess.run(command, capture_output=True, text=True, env=self._environment)
        if done.returncode:
            raise RuntimeError(f'ray start: {done.stdout[-2000:]}{done.stderr[-2000:]}')


@contextlib.contextmanager
def _ports_told(temporary: Path):
    """Say in an agent's place that it has no ports (nothing here asks it).

    Ray 2.60's node waits fifteen seconds for its agent to say so, no more, and a busy machine takes twice that to start
    one: then the node gives up.
    """
    over = threading.Event()

    def tell() -> None:
        session, node = temporary / 'session_latest', None
        while node is None and not over.wait(0.05):
            with contextlib.suppress(OSError):
                node = re.search(r'node_id=([0-9a-f]{20,})', (session / 'logs' / 'raylet.out').read_text())
        if node is not None:
            for port, value in (('metrics_agent', -1), ('metrics_export', -1), ('dashboard_agent_listen', -1),
                                ('runtime_env_agent', ENVIRONMENT_PORT)):  # fmt: skip
                path = session / f'{port}_port_{node[1]}'
                if not path.exists():
                    path.with_suffix('.new').write_text(str(value))
                    path.with_suffix('.new').rename(path)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _end_all(namespace: str) -> None:
    while pids := _output('ip', 'netns', 'pids', namespace).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _take_away(namespace: str) -> None:
    _end_all(namespace)
    subprocess.run(['ip', 'netns', 'del', namespace], capture_output=True)
    bridge, _, node = namespace.rpartition('n')
    subprocess.run(['ip', 'link', 'del', f'{bridge}v{node}'], capture_output=True)  # or it lives until the last socket


def _take_away_what_killed_runs_left() -> None:
    for name in re.findall(r'^(gr\d+n\d+)\b', _output('ip', 'netns'), re.MULTILINE):
        bridge = name.rpartition('n')[0]
        if not Path('/proc', bridge.removeprefix('gr')).exists():
            _take_away(name)
            subprocess.run(['ip', 'link', 'del', bridge], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(['ip', *words], check=True, capture_output=True)


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout
