"""Jobs whose inputs and outputs lie elsewhere: an S3 and a GCS server, a real sshd, a web server, on this machine."""

import asyncio
import contextlib
import getpass
import http.server
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest
from toy_job import Toy, done_by, run

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.jobs import places
from genaudio_core.jobs.inputs import find_inputs
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.journal import entries, failed_last, journals_of

SSHD = shutil.which('sshd', path=f'{os.environ.get("PATH", "")}:/usr/sbin')
pytestmark = pytest.mark.filterwarnings('ignore')  # of the libraries of these protocols


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(places, 'PAUSES', (0.0,))


class S3:
    """An S3 server that can be away for a while; it forgets nothing."""

    def __init__(self):
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(port=free_port(), verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def away(self):
        self._server.stop()

    def back(self):
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(port=self.port, verbose=False)
        self._server.start()


def free_port():
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        return bound.getsockname()[1]


@pytest.fixture
def s3(monkeypatch):
    import fsspec

    server = S3()
    for name, value in (('AWS_ENDPOINT_URL', f'http://127.0.0.1:{server.port}'), ('AWS_ACCESS_KEY_ID', 'x'),
                        ('AWS_SECRET_ACCESS_KEY', 'x'), ('AWS_DEFAULT_REGION', 'us-east-1'),
                        ('AWS_MAX_ATTEMPTS', '1')):  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem('s3').clear_instance_cache()
    forget = urllib.request.Request(f'http://127.0.0.1:{server.port}/moto-api/reset', method='POST')
    urllib.request.urlopen(forget).close()  # what it holds outlives a server
    fsspec.filesystem('s3').mkdir('bucket')
    yield server
    server.away()


class Gcs:
    """A Google Cloud Storage server that can be away for a while; what it holds lies on the disk."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.back()

    def back(self):
        from gcp_storage_emulator.server import create_server

        self._server = create_server('127.0.0.1', self.port, data_dir=str(self.folder), default_bucket='bucket')
        self._server.start()

    def away(self):
        self._server.stop()


class NoSleep:
    """asyncio, for a library that waits longer and longer before it tries again."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    async def sleep(self, seconds):
        await asyncio.sleep(0)


@pytest.fixture
def gcs(tmp_path, monkeypatch):
    import fsspec
    import gcsfs.retry

    monkeypatch.setattr(gcsfs.retry, 'asyncio', NoSleep())
    server = Gcs(tmp_path / 'gcs')
    for name, value in (('STORAGE_EMULATOR_HOST', f'http://127.0.0.1:{server.port}'), ('NO_GCE_CHECK', 'true'),
                        ('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')):  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem('gs').clear_instance_cache()
    yield server
    server.away()


class Sshd:
    """A real sshd of our own on a port of its own, with a key for us."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        (folder / 'home' / '.ssh').mkdir(parents=True)
        for key in (folder / 'host', folder / 'home' / '.ssh' / 'id_ed25519'):
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], check=True)
        shutil.copy(folder / 'home' / '.ssh' / 'id_ed25519.pub', folder / 'authorized')
        (folder / 'config').write_text(
            f'Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n'
            f'AuthorizedKeysFile {folder}/authorized\nPidFile {folder}/pid\n'
            'StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n'
            'Subsystem sftp internal-sftp\n'
        )
        self.back()

    def back(self):
        if os.getuid() == 0:
            Path('/run/sshd').mkdir(exist_ok=True)  # where it locks itself in before anybody has logged in
        command = [SSHD, '-D', '-e', '-f', self.folder / 'config']
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        assert wait_until(self._answers, 30)

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', self.port)) == 0

    def away(self):
        """With every connection."""
        children = subprocess.run(['ps', '-e', '-o', 'pid=,sid=,ppid='], capture_output=True, text=True, check=True)
        table = [tuple(map(int, line.split())) for line in children.stdout.splitlines()]
        ours = {self._process.pid}
        while more := {pid for pid, _, parent in table if parent in ours} - ours:
            ours |= more
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)


@pytest.fixture
def sftp(tmp_path, monkeypatch):
    if SSHD is None:
        pytest.skip('needs sshd (apt-get install openssh-server)')
    monkeypatch.setenv('HOME', str(tmp_path / 'ssh' / 'home'))
    server = Sshd(tmp_path / 'ssh')
    yield server
    server.away()


class Line:
    """A connection to a server of this machine that breaks in the middle: once so many bytes went one way."""

    def __init__(self, port):
        self._to, self._limits, self.breaks = port, {}, 0
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def break_after(self, n_bytes, way, times=1000):
        """`way` is 'there' or 'back'; so many connections break."""
        self._limits, self.breaks = {way: n_bytes}, -times

    def hold(self):
        self._limits = {}

    def close(self):
        self._listening.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self._listening.accept()[0]
                try:
                    far = socket.create_connection(('127.0.0.1', self._to))
                except OSError:
                    near.close()
                    continue
                for ends, way in (((near, far), 'there'), ((far, near), 'back')):
                    threading.Thread(target=self._carry, args=(*ends, way), daemon=True).start()

    def _carry(self, source, target, way):
        carried = 0
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 14):
                carried += len(data)
                if carried > self._limits.get(way, carried) and self.breaks:
                    self.breaks += 1
                    for end in (source, target):  # at once, and not before what waits has arrived
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)


@pytest.fixture
def line():
    lines = []

    def laid(port):
        lines.append(Line(port))
        return lines[-1]

    yield laid
    for one in lines:
        one.close()


class Away(Toy):
    """The server goes away in the middle: while the second item is made."""

    def __init__(self, server, **options):
        super().__init__(**options)
        self.server, self.begun = server, 0

    def do(self, tools, task):
        self.begun += 1
        if self.begun == 2:
            self.server.away()
        return super().do(tools, task)


def read(place):
    (data,) = places.read_each([place])
    return data.decode() if data is not None else None


def job_over(server, root, tmp_path):
    """Six files there and back, the server away after the first; then again."""
    for i in range(6):
        (tmp_path / 'x').write_text(f'heard {i}')
        places.give(tmp_path / 'x', f'{root}/in/sub {i % 2}/{i}.txt')
    found = find_inputs([f'{root}/in/'], ['.txt'], f'{root}/out')
    assert [one.name for one in found] == ['sub 0/0', 'sub 0/2', 'sub 0/4', 'sub 1/1', 'sub 1/3', 'sub 1/5']
    what = [Item((f'{one.name}.out',), (one.place,)) for one in found]
    report = run(f'{root}/out', what, Away(server))
    assert report.done == 1 and len(report.failed) == 5
    server.back()
    assert read(f'{root}/out/sub 0/2.out') is None
    log = tmp_path / 'log'
    report = run(f'{root}/out', what, Toy(log=log))
    assert (report.done, report.already, report.failed) == (5, 1, {}) and 'sub 0/0.out' not in done_by(log)
    for item in what:
        number = item.name.rpartition('/')[2][0]
        assert read(f'{root}/out/{item.name}') == f'{item.name}heard {number}'
    assert run(f'{root}/out', what).already == 6
    (tmp_path / 'x').write_text('other 4')
    places.give(tmp_path / 'x', what[2].inputs[0])
    report = run(f'{root}/out', what, workers=2)
    assert (report.done, report.already) == (1, 5)
    assert read(f'{root}/out/{what[2].name}') == f'{what[2].name}other 4'
    assert failed_last(journals_of(f'{root}/out')) == set()
    names = places.list_files(f'{root}/out')
    assert {name for name in names if not name.startswith('.genaudio/')} == {item.name for item in what}
    states = [entry['state'] for data in journals_of(f'{root}/out') for entry in entries(data)]
    assert states.count('done') >= 6


def breaks_over(line, root, way, tmp_path):
    """The line breaks in the middle of what is fetched or sent; it holds again, and the rest is done."""
    song = 'heard ' * 1_000_000  # s3fs goes on from where it broke, five times
    for name in ('a', 'big', 'z'):
        (tmp_path / 'x').write_text(song if name == 'big' else name)
        places.give(tmp_path / 'x', f'{root}/in/{name}.txt')
    what = [Item((f'{name}.out',), (f'{root}/in/{name}.txt',)) for name in ('a', 'big', 'z')]
    line.break_after(200_000, way)
    report = run(f'{root}/out', what)
    assert report.done == 2 and list(report.failed) == [f'{root}/in/big.txt'], report.failed
    assert line.breaks >= -1000 + 2  # it was tried again
    line.hold()
    assert read(f'{root}/out/big.out') is None and read(f'{root}/out/z.out') == 'z.outz'
    report = run(f'{root}/out', what)
    assert (report.done, report.already, report.failed) == (1, 2, {})
    assert read(f'{root}/out/big.out') == f'big.out{song}'
    assert {name for name in places.list_files(f'{root}/out') if not name.startswith('.genaudio/')} == {
        'a.out', 'big.out', 'z.out'}  # fmt: skip
    line.break_after(200_000, way, times=1)
    report = run(f'{root}/out', what, force=True)
    assert (report.done, report.failed, line.breaks) == (3, {}, 0)
    assert read(f'{root}/out/big.out') == f'big.out{song}'


@pytest.mark.parametrize('way', ['there', 'back'])
def test_a_line_to_s3_that_breaks_in_the_middle_of_a_file(s3, line, tmp_path, monkeypatch, way):
    import fsspec

    laid = line(s3.port)
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{laid.port}')
    fsspec.filesystem('s3').clear_instance_cache()
    breaks_over(laid, 's3://bucket/deep', way, tmp_path)


def test_a_file_that_grows_old_enough_for_a_stamp_while_it_is_read_did_not_change():
    new, old, other = places.State(5, ''), places.State(5, 'mtime 1'), places.State(5, 'mtime 2')
    assert not places.changed(new, old) and not places.changed(old, old) and not places.changed(None, None)
    assert places.changed(old, other) and places.changed(old, new) and places.changed(new, places.State(6, ''))
    assert places.changed(old, None) and places.changed(None, new)


@pytest.mark.parametrize('way', ['there', 'back'])
def test_a_line_to_sshd_that_breaks_in_the_middle_of_a_file(sftp, line, tmp_path, way):
    laid = line(sftp.port)
    (tmp_path / 'there').mkdir()
    breaks_over(laid, f'sftp://{getpass.getuser()}@127.0.0.1:{laid.port}{tmp_path}/there', way, tmp_path)


def test_a_job_in_an_s3_bucket(s3, tmp_path):
    job_over(s3, 's3://bucket/deep', tmp_path)


def test_a_job_in_a_gcs_bucket(gcs, tmp_path):
    job_over(gcs, 'gs://bucket/deep', tmp_path)


def test_a_job_over_sftp(sftp, tmp_path):
    root = f'sftp://{getpass.getuser()}@127.0.0.1:{sftp.port}{tmp_path}/there'
    (tmp_path / 'there').mkdir()
    job_over(sftp, root, tmp_path)


def test_from_the_web_into_a_folder(tmp_path):
    (tmp_path / 'web').mkdir()
    (tmp_path / 'web' / 'a.txt').write_text('heard')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / 'web'))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f'http://127.0.0.1:{server.server_port}'
        what = [Item((f'{name}.out',), (f'{url}/{name}.txt',)) for name in 'ab']
        report = run(tmp_path / 'o', what)
        assert report.done == 1 and list(report.failed) == [f'{url}/b.txt']
        assert run(tmp_path / 'o', what).already == 1
        server.shutdown()
        thread.join()
    assert (tmp_path / 'o' / 'a.out').read_text() == 'a.outheard'


def test_an_address_of_an_unknown_kind_is_one_line():
    with pytest.raises(GenaudioError, match=r'cannot be reached|needs more packages'):
        find_inputs(['nosuch://x/*'], ['.wav'])
    with pytest.raises(GenaudioError, match=r'nosuch://x/a\.wav'):
        places.state('nosuch://x/a.wav')


class Short:
    """A store that sends a file cut off, so many times."""

    def __init__(self, times):
        self.times = times

    def info(self, path):
        return {'size': 5}

    def get_file(self, path, copy):
        self.times -= 1
        Path(copy).write_text('hea' if self.times >= 0 else 'heard')


def test_a_file_that_comes_short_is_fetched_again_and_never_taken_for_the_whole(tmp_path, monkeypatch):
    store = Short(1)
    monkeypatch.setattr(places, 'reached', lambda place: (store, 'b/a.txt'))
    assert places.fetch('s3://b/a.txt', tmp_path).read_text() == 'heard'
    store.times = 9
    with pytest.raises(OSError, match='only 3 of 5 bytes came'):
        places.fetch('s3://b/a.txt', tmp_path)


@pytest.mark.parametrize('fault', [ConnectionResetError('gone'), places.Unreached('no way there')])
def test_a_store_that_does_not_answer_is_asked_again_and_told_of_and_not_taken_for_empty(monkeypatch, fault):
    class Store:
        left = 1

        def invalidate_cache(self):
            pass

        def _strip_protocol(self, place):
            return place

        def find(self, path, detail):
            self.left -= 1
            if self.left >= 0:
                raise fault
            return {'b/a.txt': {'size': 5}}

        def cat(self, paths, on_error):
            self.left -= 1
            if isinstance(fault, places.Unreached) and self.left >= 0:
                raise fault
            return {path: fault if self.left >= 0 else FileNotFoundError(path) for path in paths}

    store = Store()
    monkeypatch.setattr(places, 'reached', lambda place: (store, 'b'))
    assert list(places.list_files('s3://b')) == ['a.txt']
    store.left = 1
    assert places.read_each(['s3://b/x']) == [None]
    for ask in (lambda: places.list_files('s3://b'), lambda: places.read_each(['s3://b/x'])):
        store.left = 9
        with pytest.raises(GenaudioError, match=r'gone|no way there'):
            ask()


SPLIT = re.compile(r'```python\n(import pyarrow.*?)```', re.DOTALL)


def test_a_catalogue_becomes_manifests_as_the_page_on_scale_says(tmp_path, monkeypatch):
    import pyarrow
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    paths = [f's3://b/{i:07d}.wav' for i in range(100_003)]
    parquet.write_table(pyarrow.table({'path': paths, 'title': paths}), 'catalogue.parquet')
    found = SPLIT.search((Path(__file__).parents[2] / 'docs' / 'scale.md').read_text())
    assert found is not None
    exec(found[1])
    parts = sorted(tmp_path.glob('part-*.parquet'))
    assert [path.name for path in parts] == ['part-0000.parquet', 'part-0001.parquet']
    assert [one.place for one in find_inputs([f'@{parts[1]}'], ['.wav'])] == paths[100_000:]


def test_a_list_in_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({'path': ['a.wav', 's3://b/c.wav'], 'other': [1, 2]}), tmp_path / 'l.parquet')
    assert [one.place for one in find_inputs([f'@{tmp_path}/l.parquet'], ['.wav'])] == ['a.wav', 's3://b/c.wav']
    (tmp_path / 'bad.parquet').write_text('x')
    with pytest.raises(GenaudioError, match="no column 'path'"):
        find_inputs([f'@{tmp_path}/bad.parquet'], ['.wav'])
