"""`genaudio compose`: an audio script becomes a mix."""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from genaudio_core.command_line import notice, number, seed, threads
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_targets, check_writable
from genaudio_core.progress import progress_bar

HELP = 'Make a mix from an audio script: a table of music, speech and sound effects.'
EXAMPLE = 'genaudio compose news.csv -o news.wav --session'
ARGUMENTS = {
    'duck_db': '--duck', 'ceiling_db': '--ceiling', 'recordings': '--voices', 'recordings=FOLDER': '--voices FOLDER',
    'command': '--speech', "CommandEngine('COMMAND')": "--speech 'COMMAND'", 'FontRenderer(PATH)': '--soundfont PATH',
    'targets': '-o', 'folder': '-o',
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('script', type=Path, help='.csv, .toml or .json (see docs/audio-script.md)')
    parser.add_argument('-o', '--out', type=Path, help='the mix to write: .wav (32-bit float), .flac, .mp3, ...')
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
    from genaudio_core.query.encoder import QueryEncoder
    from genaudio_core.script.ardour_session import write_session
    from genaudio_core.script.broadcast_wav import write_broadcast_wav
    from genaudio_core.script.composition import check as check_rows
    from genaudio_core.script.composition import compose
    from genaudio_core.script.cues import cue_rows
    from genaudio_core.script.folders import check_folder
    from genaudio_core.script.makers import Effects, Makers, Music, Recordings, Speech
    from genaudio_core.script.mixing import SAMPLE_RATE, MixSettings
    from genaudio_core.script.reading import read_script
    from genaudio_core.script.speech import CommandEngine, Espeak, cast
    from genaudio_core.script.stems import write_stems
    from genaudio_core.script.table import SPEECH, Faults, Script
    from genaudio_core.sound.audio_files import WRITABLE, write_audio
    from genaudio_core.sound.soundfont import FontRenderer, PluginRenderer

    began = time.monotonic()
    if args.out is None and not args.check:
        raise GenaudioError('Say where to write the mix (-o mix.wav), or give --check.')
    settings = MixSettings(channels=1 if args.mono else 2, duck_db=args.duck, ceiling_db=args.ceiling)
    stems_folder = session_folder = None
    if args.out is not None and not args.check:
        check_writable(args.out)
        if args.out.suffix.lower() not in WRITABLE:
            raise GenaudioError(f"Cannot write '{args.out.name}'; use one of {', '.join(WRITABLE)}.")
        if args.stems:
            stems_folder = check_folder(args.out.with_name(f'{args.out.stem}-stems'))
        if args.session:
            session_folder = check_folder(args.out.with_name(f'{args.out.stem}-session'))

    def load_synthesizer() -> Any:
        from genaudio_core.synthesis.synthesizer import Synthesizer

        return Synthesizer.load(args.sound_model)

    renderer = PluginRenderer(args.instrument) if args.instrument else FontRenderer(args.soundfont)
    speech = Speech(CommandEngine(args.speech) if args.speech else Espeak(), recordings=args.voices)
    encoder = QueryEncoder()
    makers = Makers(
        speech, Effects(load_synthesizer, encoder.query), Music(renderer, args.music_model, args.threads),
        Recordings(renderer),
    )  # fmt: skip
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

    script = read_script(args.script, check)
    count = Counter(row.kind for row in [*script.foreground, *script.backgrounds])
    if args.check:
        return {'script': str(args.script), 'faults': 0, 'rows': len(script.rows), **count}
    assert args.out is not None
    out = Path(args.out)
    read = {path: 'what plays the music' for path in (args.soundfont, args.instrument) if path is not None}
    read |= {args.script: 'the script itself'} | dict.fromkeys(speech.files, 'a recording of speech')
    read |= {row.file: f'a recording that row {row.number} plays' for row in script.rows if row.file is not None}
    check_targets([out, *(folder for folder in (stems_folder, session_folder) if folder is not None)], read)
    with progress_bar('making') as progress:
        composition = compose(script, makers, settings, seed=args.seed, progress=progress)
    for row, told in sorted(composition.told.items()):
        notice(f'row {row}: {told}')
    mixdown = composition.mixdown
    for stem in mixdown.stems:
        if stem.silent and makers.of(stem.part.row) is not makers.silence:
            notice(f'row {stem.part.row.number}: is silent.')
    if mixdown.gain_db < 0:
        notice(f'The whole mix was lowered by {-mixdown.gain_db:.1f} dB to keep its peak under {args.ceiling:g} dBTP.')
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
