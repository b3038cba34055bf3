"""A disk that takes no more: one line that names the file, nothing half-written, and what was there stays."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_lines import PROGRAMS, Goods, good_line, line

from bridge.daw import band_state
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter

resource = pytest.importorskip('resource')
# What else writes is not installed here (teachers, fonts, singers) or takes minutes; it writes through the same calls.
WRITERS = [
    ('genaudio', name) for name in (
        'demo', 'rehearse', 'continue', 'accompany', 'generate', 'infill', 'arrange', 'separate', 'synth', 'compose',
        'plugin',
    )
] + [('genaudio-train', name) for name in ('prepare', 'prepare-sounds', 'release', 'evaluate-band')] + [
    ('genaudio-train', 'fit', name) for name in ('arranger', 'mmt', 'stems', 'clipsonic', 'vocoder')
]  # fmt: skip
ENDS = {'synth': 'x.wav', 'compose': 'x.wav', 'prepare': 'x.safetensors', 'release': 'x.safetensors'}
FOLDERS = {'separate': 'out', 'prepare-sounds': 'out', 'fit': 'out', 'plugin': 'to', 'evaluate-band': 'keep'}
# Begun, and stopped later: what trains saves its weights when it has written settings and figures.
LATER = {('genaudio-train', 'fit', 'arranger'): 3000}
YESTERDAY = b'of yesterday'


@pytest.fixture(scope='module')
def goods(tmp_path_factory) -> Goods:
    return Goods(tmp_path_factory.mktemp('goods'))


@pytest.fixture
def limit():
    """Sets how large a file may become, in bytes: the same errors come out of the same calls as of a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.mark.parametrize('words', WRITERS, ids=' '.join)
def test_a_disk_that_takes_no_more_is_one_line_and_nothing_half_written(words, goods, tmp_path, capsys, monkeypatch,
                                                                       limit):  # fmt: skip
    if words[1] == 'plugin':
        pytest.importorskip('bridge.daw.building').build()
    monkeypatch.chdir(tmp_path)
    target = tmp_path / ENDS.get(words[1], 'x.mid')
    given = good_line(words, goods, tmp_path)
    if words[1] in FOLDERS:
        given[FOLDERS[words[1]]] = str(target := tmp_path / 'made')
    else:
        given['out'] = str(target)
        target.write_bytes(YESTERDAY)
    if words[1] == 'prepare-sounds':
        given['own'] = goods.of(words, 'own')
    limit(LATER.get(words, 60))
    code = PROGRAMS[words[0]][0].main(line(words, given))
    limit(resource.RLIM_INFINITY)
    out, err = capsys.readouterr()
    last = (err.splitlines() or [''])[-1]
    assert code in (1, 2) and not out and last.startswith('error: ') and 'Traceback' not in err, (code, out, err)
    assert str(target) in last and any(why in last for why in ('arge', 'full')), last
    left = {path.name: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    if words in LATER:
        assert json.loads(left.pop('config.json')) and left.pop('log.csv').endswith(b'\n')
    assert left == ({} if words[1] in FOLDERS else {target.name: YESTERDAY}), (left.keys(), err)


def test_sounds_packed_before_the_disk_was_full_are_whole_and_more_can_follow(tmp_path, limit):
    sound = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)[None]
    facts = {'label': 'violin', 'kind': 'solo', 'split': 'train'}
    with SoundWriter(tmp_path / 'made') as writer:
        writer.add(sound, 44100, **facts)
        limit(2500)
        with pytest.raises(Exception, match=r'Cannot write .*shard-000.pcm: File too large'):
            writer.add(sound, 44100, **facts)
    limit(resource.RLIM_INFINITY)
    assert (tmp_path / 'made' / 'shard-000.pcm').stat().st_size == 2000
    with SoundWriter(tmp_path / 'made') as writer:
        writer.add(-sound, 44100, **facts)
    found = SoundSet(tmp_path / 'made')
    heard = [found.read(clip, start=0, n_samples=1000) for clip in found.clips]
    assert len(heard) == 2 and np.allclose(heard[0], sound, atol=1e-4) and np.allclose(heard[1], -sound, atol=1e-4)


def test_takes_of_the_plugin_are_written_whole_or_not_at_all(tmp_path, limit):
    """`genaudio plugin takes DIR` on a disk that is full: what lay there under the name stays, and a line says it."""
    said: list[str] = []
    (tmp_path / 'take.mid').write_bytes(YESTERDAY)
    state = band_state.BandState({}, said.append)
    limit(60)
    state._write(Path(tmp_path), [{'name': 'take.mid', 'midi': 'AAAA' * 100}])
    limit(resource.RLIM_INFINITY)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [YESTERDAY]
    assert len(said) == 1 and 'take.mid' in said[0] and 'File too large' in said[0]
