"""``genaudio demo``: a phrase is played in, the answer comes back in time."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from bridge.band.arrange import make_arranger
from bridge.commands._midi_outputs import check_names
from bridge.live.rehearsal import TEMPO, clock_part, note_part, ode, perform, played_notes, simulate
from bridge.live.session import Session
from bridge.midi.sender import PrecisionSender, SimulatedSender
from bridge.musicians.choose import make_musician, model_path
from bridge.musicians.musician_process import ProcessEngine, SimulatedEngine
from bridge.settings.band_preset import parse_preset
from bridge.system.clock import RealClock, SimulatedClock
from bridge.system.waiting import wait_until
from genaudio_core.command_line import check_outputs, notice, seed
from genaudio_core.errors import GenaudioError
from genaudio_core.music.piano_roll import Part, draw
from genaudio_core.score.instruments import find_instruments
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import write_midi
from genaudio_core.sound.audio_files import write_audio
from genaudio_core.sound.soundfont import SAMPLE_RATE, FontRenderer

HELP = 'hear and see what genaudio does, without setting anything up'
EXAMPLE = 'genaudio demo --out answer.mid'
OUT = Path('genaudio-demo.mid')
BARS = 2  # you two, the band two, twice
LEAD_IN = 0.5  # seconds before the clock starts
RINGS = 2.0  # seconds of the sound file after the last bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-o', '--out', type=Path, default=OUT, help='MIDI file to write')
    parser.add_argument('--picture', type=Path, help='piano roll to draw (default: next to the MIDI file, .png)')
    parser.add_argument('--sound', type=Path, help='sound file to write through a SoundFont (default: '
                        f'{OUT.with_suffix(".wav")} next to {OUT}, where a SoundFont is installed)')  # fmt: skip
    parser.add_argument('--model', default='', help="model file, or 'rules' for the band without a model")
    parser.add_argument('--instruments', default='piano', help='who answers (default: piano)')
    parser.add_argument('--seed', type=seed(), default=0)
    parser.add_argument('--fast', action='store_true', help='on a simulated clock: the same music at once')


def run(args: argparse.Namespace) -> dict[str, Any]:
    check_names(args.out, args.picture)
    args.picture = picture = args.picture or args.out.with_suffix('.png')
    renderer, asked = FontRenderer(), args.sound is not None
    if asked and (fault := renderer.fault()):
        raise GenaudioError(f'--sound: {fault}')
    if args.out == OUT and not asked:  # next to another file there may be a recording of the same name
        args.sound = OUT.with_suffix('.wav')
    check_outputs(args, 'out', 'picture', 'sound')
    instruments = find_instruments(args.instruments)
    preset = parse_preset(
        {'player': {'mode': 'respond', 'bars_heard': BARS, 'bars_answered': BARS},
         'music': {'seed': args.seed, 'temperature': 0.9},
         'parts': [{'instrument': name} for name in instruments]}, 'demo',
    )  # fmt: skip
    beats = 4 * BARS * 4.0
    seconds = beats * 60 / TEMPO
    given = [note._replace(beat=note.beat + turn * 8 * BARS) for turn in range(2) for note in ode(turn)]
    path = model_path(args.model)
    if path is None and args.model != 'rules':
        notice('No model is bundled yet: the band plays by rules.')

    def part(start: float) -> list:
        # The last tick comes after the last beat, so that the last answer is played to its end.
        return clock_part(start, beats + 1, TEMPO) + note_part(given, start, TEMPO)

    arranger = make_arranger(args.model) if preset['player.mode'] == 'arrange' else None
    if args.fast:
        clock = SimulatedClock()
        sender = SimulatedSender(clock)
        engine = SimulatedEngine(make_musician(args.model), clock)
        session = Session(preset, clock, sender, engine, notify=notice, arranger=arranger)
        start = LEAD_IN
        simulate(session, clock, sender, part(start), start + seconds + 0.2)
        session.close()
        sent = sender.sent
        handovers = engine.took
    else:
        real = RealClock()
        sent = []
        output = PrecisionSender(real, lambda number, message: sent.append((real.now(), number, message)))
        remote = ProcessEngine(make_musician, (args.model,), clock=real, notify=notice)
        session = Session(preset, real, output, remote, notify=notice, arranger=arranger)
        if not wait_until(lambda: (session.step(), remote.ready)[1], 60):
            session.close()
            raise GenaudioError('The music engine did not start within a minute.')
        notice(f'Two bars in, two bars back, twice, at {TEMPO:g} BPM: {seconds:.0f} seconds.')
        start = real.now() + LEAD_IN
        perform(session, remote, real, part(start), start + seconds + 0.2)
        session.close()
        handovers = list(session.handovers)
    played = played_notes(sent, lambda time: (time - start) * TEMPO / 60)
    answer = {channel: notes for (_, channel), notes in played.items()}
    score = _write(args.out, picture, given, answer, [voice.channel for voice in session.voices], instruments)
    if args.sound is not None and (fault := renderer.fault()):
        notice(f'Open {args.out} in a DAW or a player of MIDI files. For a sound file as well: {fault}')
        args.sound = None
    elif args.sound is not None:
        write_audio(args.sound, renderer.render(score, round((seconds + RINGS) * SAMPLE_RATE)), SAMPLE_RATE)
    milliseconds = 1000 * np.array(handovers or [np.nan])
    return {
        'notes_in': len(given), 'notes_out': sum(len(notes) for notes in answer.values()),
        'handover_ms_p50': float(np.percentile(milliseconds, 50)),
        'handover_ms_p99': float(np.percentile(milliseconds, 99)),

        'missed_deadlines': session.missed, 'model': str(path or 'rules'),
        'out': str(args.out), 'picture': str(picture), 'sound': str(args.sound or ''),
    }  # fmt: skip


def _write(
    out: Path, picture: Path, given: list[Note], answer: dict[int, list[Note]], channels: list[int], names: list[str]
) -> Score:
    you = Track.of('piano', given)
    you.name = 'you'
    tracks = [you]
    for channel, name in zip(channels, names, strict=True):
        track = Track.of(name, answer.get(channel, []))
        track.name = f'band: {name}'
        tracks.append(track)
    score = Score(tracks, [Tempo(0.0, TEMPO)], [Meter(0.0, 4, 4)])
    write_midi(score, out)
    parts = [Part('you', given), *(Part(track.name, [], track.notes, track.is_drum) for track in tracks[1:])]
    draw(picture, parts, title='you, and the band', bars=[4.0 * bar for bar in range(4 * BARS + 1)])
    return score
