"""`genaudio-train evaluate-band`: prompts that are what they say, and a table that tells good bands from bad ones."""

import json
from pathlib import Path

import pytest

from genaudio_core.analysis import band_evaluation as evaluation
from genaudio_core.analysis.band_prompts import SNARE, band_prompts, spell, tune, walk
from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.music import band_metrics as metrics
from genaudio_core.music.chord_recognition import slots_of
from genaudio_core.music.piano_roll import Part
from genaudio_core.score.notes import Meter, Note, Score, Track
from genaudio_core.score.reading import midi_bytes, read_midi, write_midi

PROMPTS = {prompt.name: prompt for prompt in band_prompts()}


# --- prompts ---------------------------------------------------------------------------------------------------------


def test_there_are_a_dozen_styles_and_they_are_always_the_same():
    again = {prompt.name: prompt for prompt in band_prompts()}
    assert len(PROMPTS) >= 12 and again == PROMPTS
    assert {'pop', 'ballad', 'jazz', 'waltz', 'seven', 'house', 'hymn', 'invention', 'funk', 'bossa'} <= set(PROMPTS)


@pytest.mark.parametrize('name', PROMPTS)
def test_a_prompt_is_music_by_its_own_figures(name):
    prompt = PROMPTS[name]
    score = prompt.score()
    bars = metrics.bars_of(score, 0.0, prompt.end)
    pitched = [part for part in prompt.parts if prompt.instruments[part] != 'drums']
    others = [note for part in pitched if part != prompt.tune for note in prompt.parts[part]]
    assert len(bars) == prompt.end / prompt.bar >= 8
    assert all(metrics.presence(prompt.parts[part], bars) >= 0.85 for part in prompt.parts)
    assert all(metrics.out_of_range(prompt.parts[part], prompt.instruments[part]) == 0 for part in pitched)
    assert all(metrics.too_many_voices(prompt.parts[part], prompt.instruments[part]) == 0 for part in pitched)
    assert metrics.in_key([*prompt.parts[prompt.tune], *others], prompt.scale) == 1.0 and len(prompt.scale) <= 9
    assert metrics.clash(prompt.parts[prompt.tune], others) <= 0.2
    assert metrics.chord_fit(others, prompt.chords, slots_of(score, prompt.end)) >= 0.9
    if prompt.backbeat:
        assert metrics.backbeat(prompt.parts['drums'], bars, prompt.backbeat) == 1.0
    for bass in (part for part in ('bass', 'contrabass') if part in prompt.parts and part != 'hymn'):
        assert metrics.bass_on_root(prompt.parts[bass], prompt.chords) >= 0.9
    assert read_midi(midi_bytes(score)).n_notes == score.n_notes
    assert prompt.instruments[prompt.tune] not in prompt.accompanists


def test_a_loop_is_its_first_chords_again_and_again():
    score, chords = PROMPTS['pop'].loop()
    assert [str(one.chord) for one in chords] == ['F#m', 'D', 'A', 'E'] * 4
    assert score.end == pytest.approx(64, abs=0.2) and len(score.tracks) == 1
    low = [min(n.note for n in score.tracks[0].notes if n.beat == one.beat) % 12 for one in chords]
    assert low == [one.chord.root for one in chords]


def test_what_is_written_wrongly_is_found():
    with pytest.raises(ValueError, match='bar 2'):
        tune('C4:4 | C4:3', 4.0)
    with pytest.raises(ValueError, match='H4'):
        tune('H4:4', 4.0)
    assert tune('Bb3:1 r:1 F#5:2', 4.0)[1].beat == 2.0 and tune('Bb3:1 r:1 F#5:2', 4.0)[0].note == 58
    assert [n.note for n in walk(spell('C Am', 4.0), 4.0, [(0, 1, 'R'), (1, 1, '3'), (3, 1, '5')], low=36)] == [
        36, 40, 45 + 7,
    ]  # fmt: skip


# --- takes -----------------------------------------------------------------------------------------------------------


def band_of(change=lambda name, notes: notes, by_rule=None):
    """Instead of the commands: plays the prompt's own parts, changed by `change(name of the track, notes)`."""

    def run(words):
        mode = words[0]
        paths = [Path(word) for word in words if word.endswith('.mid')]
        name = paths[0].name.removeprefix(f'{mode}-').rsplit('-', 2)[0]
        prompt, given = PROMPTS[name], read_midi(paths[0])
        made = given.copy()
        if mode == 'accompany':
            for part in prompt.parts:
                if prompt.instruments[part] in prompt.accompanists:
                    notes = change(part, list(prompt.parts[part]))
                    made.tracks.append(Track.of(prompt.instruments[part], notes))
        elif mode == 'continue':
            for track in made.tracks:
                again = [n._replace(beat=n.beat + prompt.end) for n in track.notes if n.beat < 8 * prompt.bar - 0.1]
                track.notes += change(track.name, again)
        elif mode == 'rehearse':
            chords = prompt.loop()[1]
            bass = Track.of('electric-bass', change('bass', walk(chords, 4.0, [(0, 3.9, 'R')])))
            bars = round(chords[-1].beat / 4) + 1
            snares = [Note(4.0 * bar + beat, 0.1, SNARE) for bar in range(bars) for beat in (1, 3)]
            made = Score([*given.tracks, bass, Track.of('drums', change('drums', snares))], given.tempos, given.meters)
        write_midi(made, paths[1])
        return {} if by_rule is None else {'by_rule': by_rule}

    return run


def figures(tmp_path, mode, change=lambda name, notes: notes, names=('pop', 'funk'), **more):
    takes = evaluation.takes_of(
        [PROMPTS[name] for name in names], [mode], [1, 2], tmp_path, run=band_of(change, **more), workers=2
    )
    assert [(take.name, take.seed) for take in takes] == [(name, seed) for name in names for seed in (1, 2)]
    return evaluation.table(takes)


def silent(which):
    return lambda name, notes: [] if name == which else notes


def half(name, notes):
    return [note for note in notes if note.beat % 32 < 16]


def wrong(name, notes):
    return [note._replace(note=note.note + 1) for note in notes] if name != 'drums' else notes


def late(name, notes):
    return [note._replace(beat=note.beat + 0.25) for note in notes]


def high(name, notes):
    return [note._replace(note=note.note + 36) for note in notes] if name != 'drums' else notes


def test_a_continuation_like_the_prompt_has_full_marks(tmp_path):
    found = figures(tmp_path, 'continue')
    assert {name: found[name] for name in ('presence', 'key', 'backbeat', 'rhythm', 'register', 'bass on root')} == {
        'presence': 1.0, 'key': 1.0, 'backbeat': 1.0, 'rhythm': 1.0, 'register': 1.0, 'bass on root': 1.0,
    }  # fmt: skip
    assert found['silent'] == found['range'] == found['voices'] == found['by rule'] == 0.0
    assert found['copied'] == 8 and found['repetition'] == 1.0 and found['equal notes'] == 1.0
    assert found['chord fit'] > 0.9 and found['clash'] < 0.1 and found['longest copied'] == 8


@pytest.mark.parametrize(
    ('change', 'figure', 'low', 'high'),
    [(silent('drums'), 'presence', 0.7, 0.8), (silent('drums'), 'silent', 0.2, 0.3), (half, 'presence', 0.45, 0.55),
     (wrong, 'key', 0.0, 0.6), (late, 'backbeat', 0.0, 0.0), (late, 'rhythm', 0.0, 0.75), (high, 'register', 0.0, 0.1),
     (high, 'range', 0.3, 1.0), (silent('bass'), 'bass on root', 0.0, 0.0), (late, 'copied', 0, 0)],
)  # fmt: skip
def test_a_continuation_made_worse_loses_them(tmp_path, change, figure, low, high):
    assert low <= figures(tmp_path, 'continue', change)[figure] <= high


def test_an_accompaniment_is_held_against_the_tune(tmp_path):
    found = figures(tmp_path, 'accompany')
    assert found['presence'] == found['key'] == found['backbeat'] == 1.0 and found['silent'] == 0.0
    assert found['clash'] < 0.1 and found['bass on root'] > 0.9 and found['chord fit'] > 0.9
    assert found['rhythm'] is None and found['register'] is None and found['copied'] is None
    worse = figures(tmp_path, 'accompany', wrong)
    assert worse['clash'] > 0.5 and worse['key'] < 0.7


def test_a_rehearsal_is_held_against_the_chords_that_were_given(tmp_path):
    found = figures(tmp_path, 'rehearse')
    assert found['bass on root'] == found['chord fit'] == found['presence'] == found['backbeat'] == 1.0
    worse = figures(tmp_path, 'rehearse', wrong)
    assert worse['bass on root'] == worse['chord fit'] == 0.0


def test_the_bars_before_a_band_can_have_heard_anything_do_not_count(tmp_path):
    found = figures(tmp_path, 'rehearse', lambda name, notes: [note for note in notes if note.beat >= 8])
    assert found['presence'] == found['bass on root'] == 1.0


def test_the_share_that_rules_played_is_that_of_the_command(tmp_path):
    assert figures(tmp_path, 'rehearse', by_rule=0.25)['by rule'] == 0.25


def test_arranging_is_measured_on_the_instruments_asked_for(tmp_path):
    def run(words):
        given = read_midi(words[1])
        notes = sorted(note for track in given.tracks for note in track.notes)
        write_midi(Score([Track.of('violin', notes)], given.tempos, given.meters), words[3])
        return {}

    (take,) = evaluation.takes_of([PROMPTS['hymn'], PROMPTS['pop']], ['arrange'], [1], tmp_path, run=run)
    found = evaluation.table([take])
    assert found['silent'] == 0.75 and found['presence'] == 0.25  # one of four plays
    assert found['voices'] > 0.4 and found['range'] > 0.1


def test_notes_of_different_parts_are_never_equal(tmp_path):
    first, second = (evaluation.make_take('continue', PROMPTS['pop'], seed, tmp_path, run=band_of()) for seed in (1, 2))
    voice, piano = second.parts[0], second.parts[1]
    voice.new, piano.new = piano.new, voice.new
    assert evaluation.table([first, second])['equal notes'] < 0.7


def test_a_command_that_fails_is_one_line(tmp_path):
    with pytest.raises(GenaudioError, match=r'genaudio accompany failed: .*No model file'):
        evaluation.make_take('accompany', PROMPTS['pop'], 1, tmp_path, model=str(tmp_path / 'gone.onnx'))


# --- music that was written ------------------------------------------------------------------------------------------


def test_written_music_is_cut_into_windows_and_measured_alike():
    prompt = PROMPTS['pop']
    twice = Score(
        [
            Track(track.program, track.is_drum, track.name, [*track.notes, *(n._replace(beat=n.beat + 32)
                                                                             for n in track.notes)])
            for track in prompt.score().tracks
        ],
        meters=[Meter(0.0, 4, 4)],
    )  # fmt: skip
    (take,) = evaluation.windows(twice, 'pop twice')
    found = evaluation.table([take])
    assert found['presence'] == found['rhythm'] == found['backbeat'] == found['key'] == 1.0
    assert found['copied'] == 8 and found['equal notes'] == 1.0 and found['clash'] < 0.1
    assert take.tune is not None and take.tune.name.endswith('voice')
    assert len(evaluation.windows(PROMPTS['pop'].score(), 'too short')) == 0
    no_drums = Score([track for track in twice.tracks if not track.is_drum], meters=[Meter(0.0, 4, 4)])
    assert evaluation.windows(no_drums, 'no drums') == []


@pytest.mark.parametrize(('keys', 'scale'), [((60, 62, 64, 65, 67, 69, 71), 0), ((57, 59, 60, 62, 64, 65, 68), 9)])
def test_the_scale_of_music_is_the_one_most_notes_are_in(keys, scale):
    found = evaluation.likeliest_scale(Note(0, 1, key) for key in (*keys, keys[0], keys[0]))
    assert {key % 12 for key in keys} <= found and len(found) <= 8
    assert evaluation.likeliest_scale([]) == frozenset()


def test_a_copy_from_training_music_is_found_in_any_key(tmp_path):
    take = evaluation.make_take('continue', PROMPTS['pop'], 1, tmp_path, run=band_of())
    index = metrics.CopyIndex()
    assert evaluation.measure(take, index)['copied from training'] == 0
    voice = next(part for part in take.parts if part.name == 'voice')
    moved = [note._replace(note=note.note + 5) for note in voice.new]
    index.add(metrics.contents(moved, take.new[2:5], transposed=True))
    assert evaluation.measure(take, index)['copied from training'] >= 2


# --- the command -----------------------------------------------------------------------------------------------------


def run(capsys, *argv):
    code = main(['evaluate-band', *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_measures_draws_and_prints(capsys, tmp_path, monkeypatch):
    make = evaluation.make_take
    monkeypatch.setattr(evaluation, 'make_take', lambda *job, model, run: make(*job, run=band_of()))
    common = ('--seeds', '2', '--prompts', 'pop,hymn', '--modes', 'accompany,continue', '--written', '1')
    code, out, err = run(capsys, *common, '--rolls', tmp_path / 'rolls', '--json')
    assert code == 0, err
    report = json.loads(out)
    assert set(report['music']) == {'accompany', 'continue', 'written'}
    assert report['music']['continue']['takes'] == 4 and set(report['music']['continue']['by_prompt']) == {
        'pop',
        'hymn',
    }
    rolls = sorted(path.name for path in (tmp_path / 'rolls').iterdir())
    assert rolls == ['accompany-hymn.png', 'accompany-pop.png', 'continue-hymn.png', 'continue-pop.png']
    code, out, _ = run(capsys, *common)
    assert code == 0 and out.splitlines()[1].startswith('music') and '\ncontinue\n' in out


def test_it_measures_the_program_itself(capsys, tmp_path):
    code, out, err = run(
        capsys,
        '--seeds',
        '1',
        '--prompts',
        'pop',
        '--modes',
        'rehearse',
        '--written',
        '0',
        '--json',
        '--keep',
        tmp_path,
    )
    assert code == 0, err
    row = json.loads(out)['music']['rehearse']
    assert row['takes'] == 1 and 0 <= row['presence'] <= 1 and row['by rule'] < 0.1  # as docs/band.md promises
    assert {path.name for path in tmp_path.iterdir()} == {'rehearse-pop-1-in.mid', 'rehearse-pop-1.mid'}


@pytest.mark.parametrize(
    ('argv', 'said'),
    [(('--prompts', 'popp'), "Did you mean 'pop'"), (('--modes', 'compose'), "Unknown mode 'compose'"),
     (('--copies',), '--data'), (('--seeds', '0'), '--seeds must be'), (('--model', 'liv'), "Did you mean 'live'"),
     (('--data', 'gone.safetensors'), 'no data file gone.safetensors')],
)  # fmt: skip
def test_a_wrong_word_is_one_line(capsys, argv, said):
    code, out, err = run(capsys, *argv)
    assert code == 2 and out == '' and err.count('\n') == 1 and said in err


def test_parts_of_a_picture_are_those_beside_and_those_asked(tmp_path):
    take = evaluation.make_take('accompany', PROMPTS['waltz'], 1, tmp_path, run=band_of())
    assert take.beside == [Part('accordion', read_midi(tmp_path / 'accompany-waltz-1-in.mid').tracks[0].notes)]
    evaluation.draw_take(take, tmp_path / 'roll.png')
    assert (tmp_path / 'roll.png').read_bytes().startswith(b'\x89PNG')
