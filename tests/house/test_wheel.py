"""What an installation holds: types, models, presets, and no checkpoints; the source distribution has those too."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from export.up_to_date import file_hash
from genaudio_core import files
from genaudio_core.errors import GenaudioError

ROOT = Path(files.__file__).parent.parent
PACKAGES = ('bridge', 'export', 'genaudio_core', 'presets')


# Weights of 60 MB do not get smaller, and what takes long is to try.
BARELY_COMPRESSED = 'import zlib; as_told = zlib.compressobj; zlib.compressobj = lambda level, *more: as_told(0, *more)'


def build(kind: str, folder: Path) -> Path:
    pytest.importorskip('hatchling')
    code = (
        f'{BARELY_COMPRESSED}; import sys; from hatchling.build import build_{kind}; print(build_{kind}(sys.argv[1]))'
    )
    done = subprocess.run([sys.executable, '-c', code, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build('wheel', tmp_path_factory.mktemp('wheel'))) as file:
        yield {item.filename: item.compress_size for item in file.infolist()}


def test_every_package_says_that_it_is_typed(wheel):
    assert {f'{package}/py.typed' for package in PACKAGES} <= set(wheel)


def test_the_wheel_holds_models_and_presets_and_no_checkpoint(wheel):
    assert {'presets/models/live.onnx', 'presets/models/separator.onnx', 'presets/duet.toml'} <= set(wheel)
    assert not [name for name in wheel if name.endswith('.safetensors')]
    bundled = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'presets').rglob('*') if path.is_file()}
    left_out = {name for name in bundled - set(wheel) if '__pycache__' not in name}
    assert left_out and all(name.endswith('.safetensors') for name in left_out)


def test_every_module_is_in_the_wheel(wheel):
    for package in PACKAGES:
        for path in (ROOT / package).rglob('*.py'):
            assert path.relative_to(ROOT).as_posix() in wheel


def test_the_source_distribution_keeps_the_checkpoints(tmp_path):
    with tarfile.open(build('sdist', tmp_path)) as file:
        names = {name.partition('/')[2] for name in file.getnames()}
    for checkpoint in (ROOT / 'presets' / 'models').glob('*.safetensors'):
        assert checkpoint.relative_to(ROOT).as_posix() in names


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The bundled files as the wheel has them: models and no checkpoints."""
    (tmp_path / 'models').mkdir()
    monkeypatch.setattr(files, 'presets_dir', lambda: tmp_path)
    return tmp_path / 'models'


def test_what_reads_checkpoints_says_in_one_line_where_they_are(installed, monkeypatch):
    torch_side = pytest.importorskip('genaudio_core.training.fit.finetune')
    monkeypatch.setattr(torch_side, 'presets_dir', files.presets_dir)
    from genaudio_core.training.loops.checkpoints import read_checkpoint

    asked = [
        lambda: torch_side.find_checkpoint('live'),
        lambda: torch_side.find_checkpoint(str(installed / 'live.safetensors')),
        lambda: read_checkpoint(installed / 'live.safetensors'),
        lambda: file_hash(installed / 'live.safetensors'),
    ]
    for ask in asked:
        with pytest.raises(GenaudioError, match=r'source distribution \(pip download') as caught:
            ask()
        assert '\n' not in str(caught.value)
    with pytest.raises(GenaudioError, match='Train one'):
        torch_side.find_checkpoint('mine/best.safetensors')
