"""How well does the band listen? The figures of `band_metrics` on what it plays to `band_prompts`, and beside them the
same figures on music that people (and the writer of `training/band_writer`) wrote.

Notable choices

* What is measured is what a person gets: every take is made by the command itself (`genaudio accompany` and so on, with
  its defaults) in a process of its own, and read back from the file.
* Accompanying and continuing, nobody knows the chords beforehand: they are recognised on all that sounds. A rehearsed
  preset is given a loop of known chords, and is held against those.
* Real and written music is cut into windows: some bars that count as given, and as many that count as new.
* A part that is silent is a matter of `presence`; its rhythm is compared where it plays.
"""

import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genaudio_core.analysis.band_prompts import Prompt
from genaudio_core.errors import GenaudioError
from genaudio_core.music import band_metrics as metrics
from genaudio_core.music.band_metrics import Bar, CopyIndex
from genaudio_core.music.chord_recognition import Segment, recognise_score, slots_of
from genaudio_core.music.events import note_table
from genaudio_core.music.keys import SCALES, classes_of
from genaudio_core.music.metrics import repeated_share
from genaudio_core.music.piano_roll import Part, bar_lines, draw
from genaudio_core.processes.programs import run_program
from genaudio_core.score.instruments import DRUMS, FAMILY
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import read_midi, write_midi

COPIES = ('copied', 'copied from training')  # figures in bars: the others are shares
MODES = ('accompany', 'continue', 'arrange', 'rehearse', 'answer')
COMMAND_SECONDS = 3600.0  # that one command may take
WRITTEN = 'written'  # the mode of takes that nobody was asked for
PRESETS = {'rehearse': 'band', 'answer': 'trading-fours'}  # those that are rehearsed
PHRASE = 4  # bars that the one is told, and that it answers
BARS = 8  # of a window, given and new
COUNT_IN = 2  # bars of a rehearsal before it is measured: the band has to hear something first
BACKBEAT = (1.0, 3.0)  # quarter notes from the line of a 4/4
HAS_IT = 0.75  # share of the given bars with the backbeat from which on written music counts as having one
_BASSES = ('contrabass', 'tuba', 'cello', 'bassoon')  # who plays the bass where no bass does, the likeliest first

Run = Callable[[Sequence[str]], dict]  # words of a command of genaudio -> what it reports
Progress = Callable[[int, int], None]  # takes done, of how many


@dataclass
class Take:
    """Parts of which something is new, and all that is needed to measure it."""

    mode: str
    name: str  # of the prompt, or of the music
    seed: int
    parts: list[Part]  # those that were asked for
    instruments: dict[str, str]  # name of a part -> class
    new: list[Bar]  # the bars to measure
    given: list[Bar] = field(default_factory=list)  # and those before, where the parts have played already
    tune: Part | None = None  # one of the parts, or beside them
    chords: Sequence[Segment] = ()
    strong: Sequence[float] = ()  # beats
    scale: frozenset[int] = frozenset()
    backbeat: tuple[float, ...] = ()
    by_rule: float = 0.0  # share of the notes that rules played
    beside: list[Part] = field(default_factory=list)  # for the picture

    def pitched(self) -> list[Part]:
        return [part for part in self.parts if not part.is_drum]

    def played(self, part: Part) -> list[Note]:
        """Its new notes in the bars that are measured."""
        begin, end = self.new[0].start, self.new[-1].end
        return [note for note in part.new if begin - metrics.NEAR <= note.beat < end - metrics.NEAR]


def _mean(values: Iterable[float]) -> float:
    found = [value for value in values if not math.isnan(value)]
    return float(np.mean(found)) if found else math.nan


def bass_of(take: Take) -> Part | None:
    """The part that plays the bass, if there is one."""
    names = {part.name: take.instruments[part.name] for part in take.pitched()}
    basses = [name for name, instrument in names.items() if FAMILY[instrument] == 'bass']
    basses += [name for low in _BASSES for name, instrument in names.items() if instrument == low]
    return next((part for part in take.parts if basses and part.name == basses[0]), None)


def measure(take: Take, training: CopyIndex | None = None) -> dict[str, float]:
    """All figures of a take; nan where there is nothing to measure.

    Parameters
    ----------
    training : bars of the music that the model has learned from, in every key
    """
    played = {part.name: take.played(part) for part in take.parts}
    pitched = [note for part in take.pitched() for note in played[part.name]]
    beside = [note for part in take.pitched() if part is not take.tune for note in played[part.name]]
    bass, drums = bass_of(take), [part for part in take.parts if part.is_drum]
    begin, end = take.new[0].start, take.new[-1].end
    chords = [segment for segment in take.chords if begin - 1e-6 <= segment.beat < end - 1e-6]
    tune = [] if take.tune is None else take.played(take.tune) or take.played(Part('', [], take.tune.given))
    found = {
        'presence': _mean(metrics.presence(part.new, take.new) for part in take.parts),
        'silent': _mean(float(not notes) for notes in played.values()),
        'key': metrics.in_key(pitched, take.scale) if take.scale else math.nan,
        'clash': metrics.clash(tune, beside),
        'chord fit': metrics.chord_fit(pitched, take.chords, take.strong),
        'bass on root': metrics.bass_on_root(played[bass.name], chords) if bass else math.nan,
        'backbeat': _mean(metrics.backbeat(played[part.name], take.new, take.backbeat) for part in drums),
        'rhythm': _mean(
            metrics.rhythm_likeness(played[part.name], take.new, part.given, take.given) for part in take.parts
        ),
        'register': _mean(metrics.register_likeness(played[part.name], part.given) for part in take.pitched()),
        'repetition': _repetition(take, played),
        'copied': _copied(take, played),
        'copied from training': math.nan,
        'range': _mean(metrics.out_of_range(played[p.name], take.instruments[p.name]) for p in take.pitched()),
        'voices': _mean(metrics.too_many_voices(played[p.name], take.instruments[p.name]) for p in take.pitched()),
        'by rule': take.by_rule,
    }  # fmt: skip
    if training is not None:
        found['copied from training'] = max(
            (
                float(training.longest_run(metrics.contents(played[p.name], take.new, transposed=True)))
                for p in take.pitched()
            ),
            default=math.nan,
        )
    return found


def _repetition(take: Take, played: Mapping[str, list[Note]]) -> float:
    """Mean over the parts of `metrics.repeated_share`: what they have played before, note for note."""
    shares = []
    for part in take.parts:
        table = note_table(Score([Track(0, notes=sorted([*part.given, *played[part.name]]))]))
        shares.append(repeated_share(table[np.argsort(table['step'])], round((take.new[0].start - metrics.NEAR) * 12)))
    return _mean(shares)


def _copied(take: Take, played: Mapping[str, list[Note]]) -> float:
    """Longest run of bars that a pitched part has taken over from the given ones as they are."""
    if not take.given:
        return math.nan
    runs = []
    for part in take.pitched():
        index = CopyIndex()
        index.add(metrics.contents(part.given, take.given))
        runs.append(index.longest_run(metrics.contents(played[part.name], take.new)))
    return float(max(runs, default=0))


# --- takes of the band -----------------------------------------------------------------------------------------------


def run_command(words: Sequence[str]) -> dict:
    """Run a command of genaudio in a process of its own.

    Raises
    ------
    GenaudioError
        If it fails; with its last line.
    """
    done = run_program([sys.executable, '-m', 'bridge.cli', *words, '--json'], timeout=COMMAND_SECONDS)
    if done.returncode:
        last = (done.stderr.decode(errors='replace').strip().splitlines() or ['it says nothing'])[-1]
        raise GenaudioError(f'genaudio {words[0]} failed: {last.removeprefix("error: ")}')
    return json.loads(done.stdout)


def make_take(
    mode: str, prompt: Prompt, seed: int, folder: Path, *, model: str = '', run: Run = run_command
) -> Take:  # fmt: skip
    """Ask the band for a take. Files are left in `folder`.

    Parameters
    ----------
    mode : one of `MODES`
    model : file; empty: the command's default

    Raises
    ------
    GenaudioError
        If a command does.
    """
    given_path, out = folder / f'{mode}-{prompt.name}-{seed}-in.mid', folder / f'{mode}-{prompt.name}-{seed}.mid'
    chords: Sequence[Segment] = ()
    if mode == 'rehearse':
        given, chords = prompt.loop()
    elif mode == 'answer':
        given = prompt.phrase(PHRASE)
    else:
        given = prompt.score([prompt.tune] if mode == 'accompany' else None)
    write_midi(given, given_path)
    words = [str(given_path), '-o', str(out), '--seed', str(seed)]
    if mode in PRESETS:
        words = ['rehearse', PRESETS[mode], *words, *(['--set', f'music.model={model}'] if model else [])]
    else:
        more = {
            'accompany': ['--instruments', ','.join(prompt.accompanists)],
            'continue': ['--beats', str(BARS * prompt.bar)],
            'arrange': ['--instruments', ','.join(prompt.arranged)],
        }[mode]
        words = [mode, *words, *more, *(['--model', model] if model and mode != 'arrange' else [])]
    told = run(words)
    by_rule = float(told.get('by_rule') or 0.0)
    taken = {
        'accompany': _accompanied, 'continue': _continued, 'arrange': _arranged, 'rehearse': _rehearsed,
        'answer': _answered,
    }  # fmt: skip
    return taken[mode](prompt, seed, read_midi(given_path), read_midi(out), by_rule, chords)


def _new_notes(track: Track, given: Score) -> list[Note]:
    """The notes of a track that no track of the same name and instrument of `given` has."""
    known = Counter(
        note
        for other in given.tracks
        if (other.name, other.instrument) == (track.name, track.instrument)
        for note in other.notes
    )
    new = []
    for note in track.notes:
        if known[note] > 0:
            known[note] -= 1
        else:
            new.append(note)
    return new


def _accompanied(prompt: Prompt, seed: int, given: Score, made: Score, by_rule: float, _: object) -> Take:
    tune = given.tracks[0].notes
    parts = []
    for name in prompt.accompanists:
        new = [note for track in made.tracks if track.instrument == name for note in _new_notes(track, given)]
        parts.append(Part(name, [], sorted(new), name == DRUMS))
    return Take(
        'accompany', prompt.name, seed, parts, {name: name for name in prompt.accompanists},
        metrics.bars_of(given, 0.0, prompt.end), tune=Part(prompt.tune, tune), chords=recognise_score(made),
        strong=slots_of(made, prompt.end), scale=prompt.scale, backbeat=prompt.backbeat, by_rule=by_rule,
        beside=[Part(prompt.tune, tune)],
    )  # fmt: skip


def _continued(prompt: Prompt, seed: int, given: Score, made: Score, by_rule: float, _: object) -> Take:
    parts = []
    for track in given.tracks:
        new = [n for other in made.tracks if other.name == track.name for n in _new_notes(other, given)]
        parts.append(Part(track.name, track.notes, sorted(new), track.is_drum))
    end = prompt.end + BARS * prompt.bar
    return Take(
        'continue', prompt.name, seed, parts, dict(prompt.instruments), metrics.bars_of(made, prompt.end, end),
        metrics.bars_of(made, 0.0, prompt.end), tune=parts[0], chords=recognise_score(made), strong=slots_of(made, end),
        scale=prompt.scale, backbeat=prompt.backbeat, by_rule=by_rule,
    )  # fmt: skip


def _arranged(prompt: Prompt, seed: int, given: Score, made: Score, by_rule: float, _: object) -> Take:
    parts = [
        Part(name, [], sorted(note for track in made.tracks if track.instrument == name for note in track.notes))
        for name in prompt.arranged
    ]
    return Take(
        'arrange', prompt.name, seed, parts, {name: name for name in prompt.arranged},
        metrics.bars_of(given, 0.0, prompt.end), by_rule=by_rule,
    )  # fmt: skip


def _answered(prompt: Prompt, seed: int, given: Score, made: Score, by_rule: float, _: object) -> Take:
    phrase, line, end = given.tracks[0].notes, PHRASE * prompt.bar, 2 * PHRASE * prompt.bar
    parts, instruments = [], {}
    for track in made.tracks[len(given.tracks) :]:
        said = not parts and not track.is_drum  # the first of them takes up the phrase
        new = [note for note in track.notes if line - metrics.NEAR <= note.beat < end - metrics.NEAR]
        parts.append(Part(track.name, phrase if said else [], new, track.is_drum))
        instruments[track.name] = track.instrument
    return Take(
        'answer', prompt.name, seed, parts, instruments, metrics.bars_of(made, line, end),
        metrics.bars_of(made, 0.0, line), tune=parts[0], chords=recognise_score(made), strong=slots_of(made, end),
        scale=prompt.scale, by_rule=by_rule, beside=[Part('phrase', phrase)],
    )  # fmt: skip


def _rehearsed(
    prompt: Prompt, seed: int, given: Score, made: Score, by_rule: float, chords: Sequence[Segment]
) -> Take:  # fmt: skip
    comping = given.tracks[0].notes
    parts, instruments = [], {}
    for track in made.tracks[len(given.tracks) :]:
        parts.append(Part(track.name, [], track.notes, track.is_drum))
        instruments[track.name] = track.instrument
    end = chords[-1].beat + chords[-1].duration
    top = [max(group, key=lambda n: n.note) for group in _onsets(comping)]
    # The band of a preset has no style of its own: a song in four has its snare on two and four.
    return Take(
        'rehearse', prompt.name, seed, parts, instruments, metrics.bars_of(given, COUNT_IN * prompt.bar, end),
        tune=Part('top', top), chords=chords, strong=slots_of(given, end), scale=prompt.scale,
        backbeat=BACKBEAT if prompt.meter == (4, 4) else (), by_rule=by_rule, beside=[Part('comping', comping)],
    )  # fmt: skip


def _onsets(notes: Sequence[Note]) -> list[list[Note]]:
    groups: dict[float, list[Note]] = {}
    for note in notes:
        groups.setdefault(round(note.beat, 3), []).append(note)
    return list(groups.values())


# --- music that was written ------------------------------------------------------------------------------------------


def windows(score: Score, name: str, *, most: int = 8) -> list[Take]:
    """Stretches of twice `BARS` bars of a score: the second half counts as new. Those with drums, a bass and more.

    The tune is the highest part that mostly plays one note at a time. Tracks of one instrument are one part each.
    """
    bars = metrics.bars_of(score, 0.0, score.next_bar(max(score.end - 1e-3, 0.0)))
    tracks = [track for track in score.tracks if track.notes and track.instrument]
    takes = []
    for first in range(0, len(bars) - 2 * BARS + 1, 2 * BARS):
        given, new = bars[first : first + BARS], bars[first + BARS : first + 2 * BARS]
        parts, instruments = [], {}
        for number, track in enumerate(tracks):
            before = [n for n in track.notes if given[0].start - metrics.NEAR <= n.beat < new[0].start - metrics.NEAR]
            after = [n for n in track.notes if new[0].start - metrics.NEAR <= n.beat < new[-1].end - metrics.NEAR]
            if before:
                label = f'{number} {track.name or track.instrument}'
                parts.append(Part(label, before, after, track.is_drum))
                instruments[label] = track.instrument
        pitched = [part for part in parts if not part.is_drum]
        take = Take(WRITTEN, name, first, parts, instruments, new, given)
        if len(pitched) < 2 or len(pitched) == len(parts) or bass_of(take) is None:
            continue
        end = new[-1].end
        inside = Score(
            [
                Track(track.program, track.is_drum, notes=[n for n in track.notes if given[0].start <= n.beat < end])
                for track in tracks
            ],
            meters=list(score.meters),
        )
        chords = recognise_score(inside)
        take.chords = [one for one in chords if given[0].start - 1e-6 <= one.beat < end]
        take.strong = [slot for slot in slots_of(inside, end) if slot >= given[0].start - 1e-6]
        take.scale = likeliest_scale(note for part in pitched for note in part.given)
        drums = [note for part in parts if part.is_drum for note in part.given]
        if new[0].end - new[0].start == 4.0 and metrics.backbeat(drums, given, BACKBEAT) >= HAS_IT:
            take.backbeat = BACKBEAT
        take.tune = _tune_of([part for part in pitched if part is not bass_of(take)])
        takes.append(take)
    step = max(len(takes) // most, 1)
    return takes[::step][:most]


def _tune_of(parts: Sequence[Part]) -> Part | None:
    def single(part: Part) -> bool:
        return len({round(n.beat, 2) for n in part.given}) >= 0.8 * len(part.given) and len(part.given) >= BARS

    lines = [part for part in parts if single(part)]
    return max(lines, key=lambda part: float(np.mean([n.note for n in part.given])), default=None)


def likeliest_scale(notes: Iterable[Note]) -> frozenset[int]:
    """The major or minor scale (with both sevenths) that most of the notes are in; nothing without notes."""
    counts = Counter(note.note % 12 for note in notes)
    if not counts:
        return frozenset()
    minor = tuple(sorted({*SCALES['minor'], 11}))
    scales = [classes_of(tonic, scale) for scale in (SCALES['major'], minor) for tonic in range(12)]
    # The minor scale has a tone more, which must be worth it.
    return max(scales, key=lambda s: sum(counts[c] for c in s) - 0.05 * counts.total() * (len(s) - 7))


# --- everything ------------------------------------------------------------------------------------------------------


def takes_of(
    prompts: Sequence[Prompt], modes: Sequence[str], seeds: Sequence[int], folder: Path, *, model: str = '',
    workers: int = 1, run: Run = run_command, progress: Progress = lambda done, of: None,
) -> list[Take]:  # fmt: skip
    """Takes of every prompt that a mode has a use for, in every mode, with every seed."""
    jobs = [
        (mode, prompt, seed)
        for mode in modes
        for prompt in prompts
        if {'arrange': bool(prompt.arranged), 'rehearse': prompt.rehearsed}.get(mode, True)
        for seed in seeds
    ]
    takes = []
    with ThreadPoolExecutor(workers) as pool:  # each waits for a process
        waiting = [pool.submit(make_take, *job, folder, model=model, run=run) for job in jobs]
        try:
            for number, one in enumerate(waiting, 1):
                takes.append(one.result())
                progress(number, len(jobs))
        finally:
            for one in waiting:
                one.cancel()
    return takes


def table(takes: Sequence[Take], training: CopyIndex | None = None) -> dict[str, float | None]:
    """Means of all figures over some takes; None where there is nothing to measure.

    'equal notes' are those of two seeds of one prompt; in written music, of its new bars and the given ones.
    """
    rows = [measure(take, training) for take in takes]
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = {name: _mean(row[name] for row in rows) for name in names}
    for name in COPIES:
        known = [row[name] for row in rows if not math.isnan(row[name])]
        found[f'longest {name}'] = max(known, default=math.nan)
    found['equal notes'] = _mean(
        [
            metrics.equal_notes(_all(one), _all(other))
            for one, other in itertools.pairwise(takes)
            if (one.mode, one.name) == (other.mode, other.name) and one.seed != other.seed and one.mode != WRITTEN
        ]
        + [metrics.equal_notes(_all(take), _repeated(take)) for take in takes if take.mode == WRITTEN]
    )
    return {name: None if math.isnan(value) else round(value, 4) for name, value in found.items()}


def _all(take: Take) -> list[Note]:
    """All new notes; those of different parts are never equal."""
    return [n._replace(note=n.note + 128 * number) for number, part in enumerate(take.parts) for n in part.new]


def _repeated(take: Take) -> list[Note]:
    """The given notes as they would come again in the new bars."""
    later = take.new[0].start - take.given[0].start
    return [
        note._replace(beat=note.beat + later, note=note.note + 128 * number)
        for number, part in enumerate(take.parts)
        for note in part.given
    ]


def draw_take(take: Take, path: Path) -> None:
    """Piano roll of a take: what was given hollow, what is new filled."""
    notes = [note for part in (*take.beside, *take.parts) for note in (*part.given, *part.new)]
    lines = Score([Track(0, notes=notes)])
    bars = [bar.start for bar in (*take.given, *take.new)] or bar_lines(lines)
    draw(path, [*take.beside, *take.parts], title=f'{take.mode}: {take.name}, seed {take.seed}', bars=bars)
