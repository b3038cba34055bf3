"""Beside a mix: its stems, an Ardour session in which they lie at their places, and a cue list.

* Stems are 32-bit float Broadcast Wave: each holds one row as it is in the mix (level, fades, ducking), and its bext
  chunk says at which sample it begins, so that any DAW can put it there. Together they add up to the mix.
* The session (``NAME.ardour``, format 7002, for Ardour 7 and later) has one track for each character, ID and kind, with
  every stem on its sample and all faders at 0 dB: played, it is the mix. It is written as text; no Ardour is needed.
* Cues are CSV and Audacity labels.
"""

import contextlib
import csv
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from genaudio_core import __version__
from genaudio_core.audio_script import BACKGROUND, SPEECH, Row
from genaudio_core.compose import Composition
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, check_writable, hidden_beside, slug
from genaudio_core.script_mix import SAMPLE_RATE, Stem

_SUPERCLOCK = 282240000 // SAMPLE_RATE  # Ardour's unit of time: 6400 of them to a sample
MARKER = 'made-by-genaudio.txt'  # a folder with this in it is ours to replace


# --- files ---


def write_broadcast_wav(path: str | Path, audio: np.ndarray, sample_rate: int, start: int, description: str) -> None:
    """Write float32 (channels, n_samples) as Broadcast Wave (EBU Tech 3285) that begins at sample `start`.

    Raises
    ------
    GenaudioError
        If it cannot be written, or is over 4 GB.
    """
    channels, n_samples = audio.shape
    text = description.encode('ascii', 'replace')[:255]
    bext = struct.pack(
        '<256s32s32s10s8sQH64s190s', text, f'genaudio {__version__}'.encode(), b'', b'', b'', start, 1, b'', b''
    )
    layout = struct.pack('<HHIIHHH', 3, channels, sample_rate, sample_rate * channels * 4, channels * 4, 32, 0)
    chunks = [(b'fmt ', layout), (b'bext', bext), (b'fact', struct.pack('<I', n_samples))]
    n_bytes = 4 * channels * n_samples
    size = 4 + sum(8 + len(body) for _, body in chunks) + 8 + n_bytes
    if size >= 1 << 32:
        raise GenaudioError(f'{path} would be over 4 GB, which a wav file cannot be.')
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        file.write(b'RIFF' + struct.pack('<I', size) + b'WAVE')
        for name, body in chunks:
            file.write(name + struct.pack('<I', len(body)) + body)
        file.write(b'data' + struct.pack('<I', n_bytes))
        file.write(np.ascontiguousarray(audio.T, '<f4').tobytes())


def check_folder(path: Path) -> Path:
    """Return `path` if a folder can be made there, or one that we made before can be replaced.

    Raises
    ------
    GenaudioError
        If something else is there, or nothing can be written.
    """
    try:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror}.') from error
    if path.exists() and not (path / MARKER).is_file():
        raise GenaudioError(f'{path} is there already and not ours to replace; move it away, or give another `folder`.')
    if path.exists() and (changed := _changed(path)):
        raise GenaudioError(
            f'{path} was worked on since ({changed.name} is new); move it away, or give another `folder`.'
        )
    check_writable(path.parent / f'{path.name}.part')
    return path


def _changed(folder: Path) -> Path | None:
    """What somebody changed or added in a folder of ours: Ardour saves over its session file, and makes more."""
    try:
        listed = dict(line.rsplit('\t', 1) for line in (folder / MARKER).read_text().splitlines()[1:])
    except (OSError, ValueError):
        return folder / MARKER
    for file in sorted(folder.rglob('*')):
        if file.is_file() and file.name != MARKER:
            state = file.stat()
            if listed.get(str(file.relative_to(folder))) != f'{state.st_size} {state.st_mtime_ns}':
                return file
    return None


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which takes its place only if the block ends well.

    Raises
    ------
    GenaudioError
        As `check_folder`, or if the disk is full or goes away.
    """
    check_folder(path)
    temporary = hidden_beside(path)
    try:
        temporary.mkdir(mode=0o700)
        yield temporary
        lines = ['Made by genaudio compose, which replaces this folder as long as nobody works in it.']
        for file in sorted(temporary.rglob('*')):
            if file.is_file():
                state = file.stat()
                lines.append(f'{file.relative_to(temporary)}\t{state.st_size} {state.st_mtime_ns}')
        (temporary / MARKER).write_text('\n'.join(lines) + '\n')
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror or error}.') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# --- names ---


def stem_names(stems: Sequence[Stem]) -> list[str]:
    """A file name for each row: its number and what it is, such as ``03-news-anchor``."""
    return [f'{stem.part.row.number:02d}-{slug(stem.part.row.name, "row")}' for stem in stems]


def track_of(row: Row) -> str:
    """The track that a row lies on: one for each character, background ID and kind of foreground."""
    if row.layout == BACKGROUND:
        return row.id
    if row.kind == SPEECH:
        return row.character or 'Speech'
    return row.kind.capitalize()


# --- what is written ---


def write_stems(folder: Path, composition: Composition) -> list[Path]:
    """Write one file for each row into `folder`; their paths, in the order of the rows."""
    stems = composition.mixdown.stems
    names = stem_names(stems)
    with atomic_folder(folder) as temporary:
        for stem, name in zip(stems, names, strict=True):
            write_broadcast_wav(
                temporary / f'{name}.wav', stem.audio, SAMPLE_RATE, stem.part.start, stem.part.row.content
            )
    return [folder / f'{name}.wav' for name in names]


def cue_rows(composition: Composition) -> list[dict[str, str | int | float]]:
    """One mapping for each row that sounds."""
    rows = []
    for stem in composition.mixdown.stems:
        part, row = stem.part, stem.part.row
        rows.append({
            'row': row.number, 'type': row.kind, 'layout': row.layout, 'name': row.name,
            'start_seconds': round(part.start / SAMPLE_RATE, 6), 'end_seconds': round(part.end / SAMPLE_RATE, 6),
            'start_sample': part.start, 'end_sample': part.end, 'volume_lufs': row.volume,
            'gain_db': round(stem.gain_db + composition.mixdown.gain_db, 2), 'content': row.content,
            'told': composition.told.get(row.number, ''),
        })  # fmt: skip
    return rows


def write_cues(path: Path, composition: Composition) -> None:
    """Write the cue list as CSV."""
    rows = cue_rows(composition)
    with atomic_write(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ['row'])
        writer.writeheader()
        writer.writerows(rows)


def write_labels(path: Path, composition: Composition) -> None:
    """Write the cue list as Audacity labels (File > Import > Labels)."""
    with atomic_write(path) as temporary:
        temporary.write_text(
            ''.join(
                f'{cue["start_seconds"]:.6f}\t{cue["end_seconds"]:.6f}\t{cue["row"]} {cue["name"]}\n'
                for cue in cue_rows(composition)
            ),
            encoding='utf-8',
        )


def write_session(folder: Path, name: str, composition: Composition) -> Path:
    """Write an Ardour session with the stems in it; returns the session file."""
    name = re.sub(r'[^\w .-]', '-', name).strip(' .') or 'mix'
    stems = composition.mixdown.stems
    with atomic_folder(folder) as temporary:
        audio = temporary / 'interchange' / name / 'audiofiles'
        audio.mkdir(parents=True)
        for stem, file in zip(stems, stem_names(stems), strict=True):
            write_broadcast_wav(audio / f'{file}.wav', stem.audio, SAMPLE_RATE, stem.part.start, stem.part.row.content)
        # Folders that Ardour wants to find, even empty.
        for empty in ('peaks', 'export', 'externals', 'plugins', 'analysis', 'dead'):
            (temporary / empty).mkdir()
        (temporary / f'{name}.ardour').write_text(_ardour(name, composition), encoding='utf-8')
        write_cues(temporary / 'cues.csv', composition)
        write_labels(temporary / 'labels.txt', composition)
    return folder / f'{name}.ardour'


class _Ids:
    """Ardour numbers everything in a session."""

    def __init__(self):
        self.last = 100

    def __call__(self) -> int:
        self.last += 1
        return self.last


def _ardour(name: str, composition: Composition) -> str:
    mixdown, new = composition.mixdown, _Ids()
    channels, n_samples = mixdown.audio.shape
    sources, tracks, playlists = [], [], []
    by_track: dict[str, list[tuple[Stem, str]]] = {}
    for stem, file in zip(mixdown.stems, stem_names(mixdown.stems), strict=True):
        by_track.setdefault(track_of(stem.part.row), []).append((stem, file))
    titles: list[str] = []
    for order, (wanted, stems) in enumerate(by_track.items(), 1):
        title = re.sub(r'[:/\x00-\x1f]', '-', wanted)[:60]
        while title.lower() in {'master', 'monitor', *(other.lower() for other in titles)}:
            title += ' 2'
        titles.append(title)
        track_id, playlist_id = new(), new()
        regions = []
        for layer, (stem, file) in enumerate(stems):
            ids = [new() for _ in range(channels)]
            for channel, source in enumerate(ids):
                sources.append(
                    f'    <Source name={quoteattr(file + ".wav")} take-id="" type="audio" flags="" id="{source}" '
                    f'channel="{channel}" origin="" gain="1"/>'
                )
            regions.append(_region(new(), file, stem, ids, layer))
        playlists.append(
            f'    <Playlist id="{playlist_id}" name={quoteattr(title)} type="audio" orig-track-id="{track_id}" '
            f'pgroup-id="" shared-with-ids="" frozen="0" combine-ops="0">\n' + '\n'.join(regions) + '\n    </Playlist>'
        )
        tracks.append(_route(title, track_id, order, channels, 'Master', new, playlist_id))
    master = _route('Master', new(), 0, channels, '', new)
    end = n_samples * _SUPERCLOCK
    marks = [f'    <Location id="{new()}" name="session" start="a0" end="a{end}" flags="IsSessionRange" locked="0" '
             'position-lock-style="AudioTime" cue="0"/>']  # fmt: skip
    for stem in mixdown.stems:
        at = stem.part.start * _SUPERCLOCK
        label = quoteattr(f'{stem.part.row.number} {stem.part.row.name}')
        marks.append(f'    <Location id="{new()}" name={label} start="a{at}" end="a{at}" flags="IsMark" locked="0" '
                     'position-lock-style="AudioTime" cue="0"/>')  # fmt: skip
    return '\n'.join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<Session version="7002" name={quoteattr(name)} sample-rate="{SAMPLE_RATE}" session-range-is-free="0" '
        f'id-counter="{new() + 1000}" name-counter="1" event-counter="0" vca-counter="1">',
        f'  <ProgramVersion created-with="genaudio {__version__}" modified-with="genaudio {__version__}"/>',
        '  <Config>', '    <Option name="use-region-fades" value="1"/>',
        '    <Option name="native-file-data-format" value="FormatFloat"/>',
        '    <Option name="native-file-header-format" value="WAVE"/>', '  </Config>',
        '  <Sources>', *sources, '  </Sources>', '  <Regions/>', '  <Locations>', *marks, '  </Locations>',
        '  <Routes>', master, *tracks, '  </Routes>', '  <Playlists>', *playlists, '  </Playlists>',
        '  <UnusedPlaylists/>', '  <RouteGroups/>',
        '  <TempoMap superclocks-per-second="282240000">', '    <Tempos>',
        '      <Tempo npm="120" enpm="120" note-type="4" type="Tempo::Constant" active="1" locked-to-meter="0" '
        'continuing="0" sclock="0" quarters="0:0" bbt="1|1|0" omega="0"/>',
        '    </Tempos>', '    <Meters>',
        '      <Meter note-value="4" divisions-per-bar="4" sclock="0" quarters="0:0" bbt="1|1|0"/>',
        '    </Meters>', '    <MusicTimes/>', '  </TempoMap>', '</Session>', '',
    ])  # fmt: skip


def _region(number: int, file: str, stem: Stem, sources: Sequence[int], layer: int) -> str:
    start, length = stem.part.start * _SUPERCLOCK, stem.part.n_samples * _SUPERCLOCK
    used = ' '.join(f'source-{i}="{source}" master-source-{i}="{source}"' for i, source in enumerate(sources))
    # Levels and fades are in the file: the region's own are switched off.
    return (
        f'      <Region name={quoteattr(file)} muted="0" opaque="0" locked="0" video-locked="0" automatic="0" '
        'whole-file="0" import="0" external="0" hidden="0" position-locked="0" valid-transients="0" start="a0" '
        f'length="a{length}@a{start}" sync-position="a0" ancestral-start="a0" ancestral-length="a{length}@a0" '
        f'stretch="1" shift="1" layering-index="{layer}" tags="" contents="0" default-fade-in="0" '
        'default-fade-out="0" fade-in-active="0" fade-out-active="0" scale-amplitude="1" envelope-active="0" '
        f'type="audio" first-edit="nothing" id="{number}" {used} channels="{len(sources)}"/>'
    )


def _route(title: str, number: int, order: int, channels: int, output: str, new: _Ids, playlist: int = 0) -> str:
    is_master = not output
    name = quoteattr(title)
    ins = ''.join(f'<Port type="audio" name={quoteattr(f"{title}/audio_in {i + 1}")}/>' for i in range(channels))
    outs = []
    for i in range(channels):
        to = f'system:playback_{i + 1}' if is_master else f'{output}/audio_in {i + 1}'
        port = quoteattr(f'{title}/audio_out {i + 1}')
        outs.append(f'<Port type="audio" name={port}><Connection other={quoteattr(to)}/></Port>')
    flags = 'MasterOut,OrderSet' if is_master else 'AudioTrack,OrderSet'
    track = '' if is_master else f' audio-playlist="{playlist}" alignment-choice="Automatic" mode="Normal"'
    disk = '' if is_master else (
        f'      <Processor id="{new()}" name={quoteattr("recorder:" + title)} active="1" type="diskwriter" '
        f'record-safe="0"/>\n      <Processor id="{new()}" name={quoteattr("player:" + title)} active="1" '
        'type="diskreader"/>\n'
    )  # fmt: skip
    return (
        f'    <Route version="7002" id="{number}" name={name} default-type="audio" strict-io="{int(is_master)}" '
        f'active="1" denormal-protection="0" meter-point="MeterPostFader" disk-io-point="DiskIOPreFader" '
        f'meter-type="MeterPeak"{track}>\n'
        f'      <PresentationInfo order="{order}" flags="{flags}" color="0"/>\n'
        f'      <IO name={name} id="{new()}" direction="Input" default-type="audio">{ins}</IO>\n'
        f'      <IO name={name} id="{new()}" direction="Output" default-type="audio">{"".join(outs)}</IO>\n'
        f'{disk}'
        f'      <Processor id="{new()}" name="Amp" active="1" type="amp">'
        f'<Controllable name="gaincontrol" id="{new()}" flags="GainLike" value="1"/></Processor>\n'
        f'      <Processor id="{new()}" name={quoteattr("meter-" + title)} active="1" type="meter"/>\n'
        f'      <Processor id="{new()}" name={name} active="1" own-input="1" own-output="0" output={name} '
        'type="main-outs" role="Main"><PannerShell bypassed="1" user-panner="" linked-to-route="1"/></Processor>\n'
        '    </Route>'
    )
