"""Beside a mix: its stems, an Ardour session in which they lie at their places, and a cue list.

* Stems are 32-bit float Broadcast Wave: each holds one row as it is in the mix (level, fades, ducking), and its bext
  chunk says at which sample it begins, so that any DAW can put it there. Together they add up to the mix.
* The session (``NAME.ardour``, format 7002, for Ardour 7 and later) has one track for each character, ID and kind, with
  every stem on its sample and all faders at 0 dB: played, it is the mix. It is written as text; no Ardour is needed.
* Cues are CSV and Audacity labels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from genaudio_core import __version__
from genaudio_core.script.broadcast_wav import write_broadcast_wav
from genaudio_core.script.composition import Composition
from genaudio_core.script.cues import write_cues, write_labels
from genaudio_core.script.folders import atomic_folder
from genaudio_core.script.mixing import SAMPLE_RATE, Stem
from genaudio_core.script.stems import stem_names, track_of

_SUPERCLOCK = 282240000 // SAMPLE_RATE  # Ardour's unit of time: 6400 of them to a sample


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
