"""`genaudio compose`: an audio script becomes a mix."""

import argparse
import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.commands.offline._job_options import add_job_options, place
from bridge.commands.offline._many import Bar, is_job, over_files
from genaudio_core.command_line import notice, number, seed, threads
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_targets, check_writable, find_model, presets_dir
from genaudio_core.jobs.inputs import Found, find_inputs
from genaudio_core.jobs.places import is_address
from genaudio_core.progress import progress_bar

HELP = 'Make a mix from an audio script: a table of music, speech and sound effects.'
EXAMPLE = 'genaudio compose news.csv -o news.wav --session'
ARGUMENTS = {
    'duck_db': '--duck', 'ceiling_db': '--ceiling', 'recordings': '--voices', 'recordings=FOLDER': '--voices FOLDER',
    'command': '--speech', "CommandEngine('COMMAND')": "--speech 'COMMAND'", 'FontRenderer(PATH)': '--soundfont PATH',
    'targets': '-o', 'folder': '-o',
}  # fmt: skip
SUFFIXES = ('.csv', '.tsv', '.toml', '.json')
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('script', nargs='+', help='.csv, .toml or .json (see docs/audio-script.md); also folders, '
                        'patterns, @LIST.txt')  # fmt: skip
    parser.add_argument('-o', '--out', type=place, help='the mix to write: .wav (32-bit float), .flac, .mp3, ...; a '
                        'folder for many')  # fmt: skip
    parser.add_argument('-f', '--format', default='wav', help='of the mixes of many scripts (default: wav)')
    parser.add_argument('--check', action='store_true', help='only check the script; nothing is made or written')
    parser.add_argument('--stems', action='store_true', help='also write each row to OUT-stems/ (Broadcast Wave)')
    parser.add_argument(
        '--session', action='store_true', help='also write an Ardour session and cue lists: OUT-session/'
    )
    parser.add_argument('--seed', type=seed(), default=0, help='the same seed makes the same mix (default: 0)')
    parser.add_argument('--mono', action='store_true', help='mix to one channel')
    parser.add_argument('--duck', type=number('--duck', 0, 60, unit='dB'), default=9.0, metavar='DB',
                        help='lower the background this much under speech (default: 9; 0: not at all)')  # fmt: skip
    parser.add_argument('--ceiling', type=number('--ceiling', -40, 0, unit='dBTP'), default=-1.0, metavar='DB',
                        help='highest true peak; a louder mix is lowered as a whole (default: -1)')  # fmt: skip
    parser.add_argument('--soundfont', type=Path, metavar='FILE', help='plays the music (default: the best installed)')
    parser.add_argument('--instrument', type=Path, metavar='PLUGIN', help='a VST3 instrument that plays the music')
    parser.add_argument('--voices', type=Path, metavar='FOLDER', help='recordings: CHARACTER-1.wav ... or row-3.wav')
    parser.add_argument('--voice', action='append', default=[], metavar='WHO=VOICE',
                        help="an espeak-ng voice for a character, such as 'Host=en-gb,pitch=40,speed=150'")  # fmt: skip
    parser.add_argument('--language', default='en', help='of speech, such as de or en-us (default: en)')
    parser.add_argument(
        '--speech',
        metavar='COMMAND',
        help="another speech program, such as 'piper -m voice.onnx -f {out}'; gets the text on stdin",
    )
    parser.add_argument('--music-model', default='live', help='bundled name or .onnx file (default: live)')
    parser.add_argument('--sound-model', metavar='MODEL', help='bundled name or .onnx file (default: the bundled one)')
    parser.add_argument('--threads', type=threads(), default=1)
    add_job_options(parser)


def wanted_voices(items: list[str]) -> dict[str, dict[str, Any]]:
    """Return WHO=VOICE[,pitch=N][,speed=N] items as settings by character.

    Raises
    ------
    GenaudioError
        If an item makes no sense.
    """
    from genaudio_core.script.table import VOICE

    voices: dict[str, dict[str, Any]] = {}
    for item in items:
        who, equals, rest = item.partition('=')
        if not (who and equals and rest.strip()):
            raise GenaudioError(f"--voice takes WHO=VOICE, such as 'Host=en-gb,pitch=40', not '{item}'.")
        said = [part.partition('=') for part in rest.split(',')]
        settings = {name.strip() if has_value else 'voice': (value or name).strip() for name, has_value, value in said}
        VOICE.check(f'--voice {who.strip()}', settings)
        voices[who.strip()] = settings
    return voices


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.sound.audio_files import WRITABLE

    args.input = args.script
    delattr(args, 'script')
    if args.out is None and not args.check:
        raise GenaudioError('Say where to write the mix (-o mix.wav), or give --check.')
    wanted_voices(args.voice)
    many = is_job(args, args.input)
    suffix = f'.{args.format.lower().lstrip(".")}' if many else '' if args.out is None else args.out.suffix.lower()
    if not args.check and suffix not in WRITABLE:
        name = args.format if many or args.out is None else args.out.name
        raise GenaudioError(f"Cannot write '{name}'; use one of {', '.join(WRITABLE)}.")
    if many and args.check:
        return _checked(args)
    if many:
        return over_files(__name__, args, SUFFIXES, functools.partial(_outputs, args, suffix), doing='composing',
                          reads=_played)  # fmt: skip
    args.input = Path(args.input[0])
    if not args.check and args.out is not None:
        check_writable(args.out)
    return make(args, lambda: load(args), progress_bar)


def _outputs(args: argparse.Namespace, suffix: str, name: str) -> list[str]:
    return [name + suffix, *([f'{name}-stems'] if args.stems else []), *([f'{name}-session'] if args.session else [])]


def _played(found: Found) -> list[str]:
    """The recordings that a script plays."""
    from genaudio_core.script.reading import read_script

    try:
        rows = [] if is_address(found.place) else read_script(found.place).rows
    except GenaudioError:  # told when it is its turn
        return []
    return [str(path) for path in sorted({row.file for row in rows if row.file is not None})]


def _checked(args: argparse.Namespace) -> dict[str, Any]:
    """Check many scripts; nothing is made."""
    found, faulty = find_inputs(args.input, SUFFIXES), []
    loaded = load(args)
    for one in found:
        args.input = Path(one.place)
        try:
            make(args, lambda: loaded, progress_bar)
        except GenaudioError as error:
            faulty.append(one.place)
            notice(f'{one.place}: {error}')
    return {'scripts': len(found), 'with_faults': faulty, 'exit_code': 1 if faulty else 0}


def load(args: argparse.Namespace) -> Any:
    """Those who make the rows; their models are loaded when a row needs them."""
    from genaudio_core.query.encoder import QueryEncoder
    from genaudio_core.script.makers import Effects, Makers, Music, Recordings, Speech
    from genaudio_core.script.speech import CommandEngine, Espeak
    from genaudio_core.sound.soundfont import FontRenderer, PluginRenderer

    def load_synthesizer() -> Any:
        from genaudio_core.synthesis.synthesizer import Synthesizer

        return Synthesizer.load(args.sound_model)

    renderer = PluginRenderer(args.instrument) if args.instrument else FontRenderer(args.soundfont)
    speech = Speech(CommandEngine(args.speech) if args.speech else Espeak(), recordings=args.voices)
    encoder = QueryEncoder()
    return Makers(
        speech, Effects(load_synthesizer, encoder.query), Music(renderer, args.music_model, args.threads),
        Recordings(renderer),
    )  # fmt: skip


def read_by(args: argparse.Namespace) -> dict[str, Path | None]:
    """Return the files that every script depends on, by the argument that names them."""
    from genaudio_core.sound.soundfont import any_font

    font = args.soundfont
    if font is None and not args.instrument:
        with contextlib.suppress(GenaudioError):  # only music needs one
            font = any_font()
    models = presets_dir() / 'models'
    return {
        'soundfont': font, 'music_model': find_model(args.music_model),
        'sound_model': find_model(args.sound_model or 'synth-denoiser'),
        'vocoder': models / 'synth-vocoder.onnx', 'text_encoder': models / 'query-text.onnx',
    }  # fmt: skip


def check_places(places: Sequence[str]) -> None:
    """Raise GenaudioError if a folder of stems, or a session, is there and not ours to replace."""
    from genaudio_core.script.folders import check_folder

    for folder in places[1:]:
        if is_address(folder):
            raise GenaudioError('--stems and --session write folders, and folders are written only on this machine.')
        check_folder(Path(folder))


def make(args: argparse.Namespace, loaded: Callable[[], Any], bar: Bar) -> dict[str, Any]:
    """Check one script and, unless that is all, make its mix."""
    from genaudio_core.script.ardour_session import write_session
    from genaudio_core.script.broadcast_wav import write_broadcast_wav
    from genaudio_core.script.composition import check as check_rows
    from genaudio_core.script.composition import compose
    from genaudio_core.script.cues import cue_rows
    from genaudio_core.script.folders import check_folder
    from genaudio_core.script.mixing import SAMPLE_RATE, MixSettings
    from genaudio_core.script.reading import read_script
    from genaudio_core.script.speech import cast
    from genaudio_core.script.stems import write_stems
    from genaudio_core.script.table import SPEECH, Faults, Script
    from genaudio_core.sound.audio_files import write_audio

    began = time.monotonic()
    settings = MixSettings(channels=1 if args.mono else 2, duck_db=args.duck, ceiling_db=args.ceiling)
    stems_folder = session_folder = None
    if args.out is not None and not args.check:
        if args.stems:
            stems_folder = check_folder(args.out.with_name(f'{args.out.stem}-stems'))
        if args.session:
            session_folder = check_folder(args.out.with_name(f'{args.out.stem}-session'))
    makers = loaded()
    speech = makers.speech
    asked = wanted_voices(args.voice)

    def check(script: Script, faults: Faults) -> None:
        try:
            speech.prepare(script)
            speech.voices = cast(
                [row.character for row in script.rows if row.kind == SPEECH], {**script.voices, **asked}, args.language
            )
        except GenaudioError as error:
            faults.add(0, str(error))
        check_rows(script, makers, faults)

    script = read_script(args.input, check)
    count = Counter(row.kind for row in [*script.foreground, *script.backgrounds])
    if args.check:
        return {'script': str(args.input), 'faults': 0, 'rows': len(script.rows), **count}
    assert args.out is not None
    out = Path(args.out)
    read = {path: 'what plays the music' for path in (args.soundfont, args.instrument) if path is not None}
    read |= {args.input: 'the script itself'} | dict.fromkeys(speech.files, 'a recording of speech')
    read |= {row.file: f'a recording that row {row.number} plays' for row in script.rows if row.file is not None}
    check_targets([out, *(folder for folder in (stems_folder, session_folder) if folder is not None)], read)
    with bar('making') as progress:
        composition = compose(script, makers, settings, seed=args.seed, progress=progress)
    for row, told in sorted(composition.told.items()):
        _log.warning('row %d: %s', row, told)
    mixdown = composition.mixdown
    for stem in mixdown.stems:
        if stem.silent and makers.of(stem.part.row) is not makers.silence:
            _log.warning('row %d: is silent.', stem.part.row.number)
    if mixdown.gain_db < 0:
        _log.warning('The whole mix was lowered by %.1f dB to keep its peak under %g dBTP.', -mixdown.gain_db,
                     args.ceiling)  # fmt: skip
    if out.suffix.lower() == '.wav':
        write_broadcast_wav(out, mixdown.audio, SAMPLE_RATE, 0, script.path.stem if script.path else '')
    else:
        write_audio(out, mixdown.audio, SAMPLE_RATE)
    result: dict[str, Any] = {
        'out': str(out), 'length_seconds': round(mixdown.audio.shape[1] / SAMPLE_RATE, 3),
        'loudness_lufs': round(mixdown.loudness, 2), 'peak_dbtp': round(mixdown.peak_db, 2),
        'lowered_db': round(abs(mixdown.gain_db), 2), **count, 'seed': args.seed,
    }  # fmt: skip
    if stems_folder is not None:
        result['stems'] = [str(path) for path in write_stems(stems_folder, composition)]
    if session_folder is not None:
        result['session'] = str(write_session(session_folder, out.stem, composition))
    if args.json:
        result['rows'] = cue_rows(composition)
    return result | {'seconds': round(time.monotonic() - began, 2)}
