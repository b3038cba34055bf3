"""`genaudio rehearse`: a preset against a written part, on the simulated clock, the same everywhere."""

import json
import time

import pytest
import small_decoders

from bridge.cli import main
from bridge.live.preset_rehearsal import BAND, LEAD_IN, YOU, fitted, part_names, part_of, rehearse
from bridge.midi import messages
from bridge.musicians.model_musician import ModelMusician
from bridge.musicians.rule_musician import FallbackMusician
from bridge.settings.band_preset import available, load_preset, parse_preset
from bridge.settings.parameters import MODES
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import read_midi, write_midi

TRIO = [{'instrument': 'bass'}, {'instrument': 'drums'}, {'instrument': 'pad'}]


def comping(bars=8, meter=(4, 4), tempos=((0.0, 100.0),)) -> Score:
    """A chord on every quarter: C, Am, F, G."""
    length = meter[0] * 4 / meter[1]
    notes = [
        Note(bar * length + beat, 0.8, key, 80)
        for bar in range(bars) for beat in range(int(length))
        for key in ((60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62))[bar % 4]
    ]  # fmt: skip
    track = Track.of('piano', notes)
    track.name = 'comping'
    return Score([track], [Tempo(*tempo) for tempo in tempos], [Meter(0.0, *meter)])


def preset(mode='accompany', parts=TRIO, **values):
    changes = {name.replace('__', '.'): value for name, value in values.items()}
    return parse_preset({'player': {'mode': mode}, 'parts': parts}, changes=changes)


def play(chosen, score, musician=None, **options):
    return rehearse(fitted(chosen, score, 'in.mid'), score, musician or FallbackMusician(), **options)


def band(made):
    return {track.name.removeprefix(BAND): track.notes for track in made.score.tracks if track.name.startswith(BAND)}


class Through:
    """A musician that hands everything on to the rules, and is none of them."""

    def __init__(self, nap=0.0):
        self.nap, self.rules = nap, FallbackMusician()

    def __getattr__(self, name):
        return getattr(self.rules, name)

    def answer(self, request):
        for piece in self.rules.answer(request):
            time.sleep(self.nap)
            yield piece


def run(capsys, *argv):
    code = main(['rehearse', *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def file(tmp_path):
    write_midi(comping(), tmp_path / 'in.mid')
    return tmp_path / 'in.mid'


# --- the same notes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('model', ['rules', 'model'])
def test_the_same_seed_makes_the_same_file_and_another_seed_another(capsys, file, model):
    write_midi(comping(3), file)
    named = 'rules' if model == 'rules' else str(small_decoders.file('live'))
    made = []
    for seed in (1, 1, 2):
        out = file.with_name('out.mid')
        code, told, err = run(capsys, 'band', file, '-o', out, '--seed', seed, '--json', '--set', f'model={named}')
        assert code == 0, err
        figures = json.loads(told)
        del figures['seconds']
        made.append((out.read_bytes(), figures))
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]


def test_the_speed_of_the_machine_changes_nothing():
    # An answer is asked for a fraction of a second before its line: had it come in real time, it would be late.
    chosen = preset('respond', player__bars_heard=1, player__bars_answered=1)
    quick, slow = (play(chosen, comping(6), Through(nap)) for nap in (0.0, 0.1))
    assert quick.figures['missed_deadlines'] == 0
    assert band(quick) == band(slow) and quick.figures == slow.figures


def test_a_plan_takes_simulated_time_and_a_late_one_is_replaced_by_rules_and_counted():
    in_time, late = (play(preset(), comping(), Through(), plan_seconds=seconds) for seconds in (0.03, 30.0))
    assert in_time.figures['missed_deadlines'] == 0 and in_time.figures['by_rule'] == 0.0
    assert late.figures['missed_deadlines'] == late.figures['deadlines'] > 0 and late.figures['by_rule'] == 1.0
    some = play(preset(), comping(), Through(), plan_seconds=2.9).figures
    assert 0 < some['by_rule'] < 1
    assert play(preset(), comping()).figures['by_rule'] == 1.0  # no model plays at all


def test_a_long_rehearsal_finds_room_in_time_whatever_the_machine_does():
    musician = ModelMusician(small_decoders.decoder('live'))
    play(preset(), comping(24), musician)
    assert musician.rebases > 1 and musician.late_rebases == 0


# --- the part and the file -------------------------------------------------------------------------------------------


def test_given_and_new_are_tracks_of_their_own_and_the_given_one_is_as_it_was(capsys, file):
    out = file.with_name('out.mid')
    assert run(capsys, 'band', file, '-o', out, '--set', 'model=rules')[0] == 0
    given, made = read_midi(file), read_midi(out)
    names = [track.name for track in made.tracks]
    assert names == [YOU + 'comping', BAND + 'electric-bass', BAND + 'drums', BAND + 'pad']
    assert made.tracks[0].notes == given.tracks[0].notes
    assert [track.instrument for track in made.tracks] == ['piano', 'electric-bass', 'drums', 'pad']
    assert (made.tempos, made.meters) == (given.tempos, given.meters)


def test_the_band_plays_on_the_grid_through_changes_of_tempo():
    tempos = ((0.0, 90.0), (8.0, 140.0), (16.0, 60.0))
    made = play(preset(music__timing=0.0), comping(8, tempos=tempos))
    assert [tuple(tempo) for tempo in made.score.tempos] == list(tempos)
    # A tempo is heard from the clock, after some ticks: notes around a change may be a little beside the grid.
    far = [n.beat for notes in band(made).values() for n in notes if min(abs(n.beat - at) for at, _ in tempos) > 1.5]
    assert far and all(abs(beat * 12 - round(beat * 12)) < 0.1 for beat in far)


def test_the_meter_is_that_of_the_file_unless_another_is_set(capsys, tmp_path):
    write_midi(comping(8, (3, 4)), tmp_path / 'in.mid')
    common = ('band', tmp_path / 'in.mid', '-o', tmp_path / 'out.mid', '--json', '--set', 'model=rules')
    figures = json.loads(run(capsys, *common)[1])
    assert figures['meter'] == '3/4' and figures['bars'] == 8
    figures = json.loads(run(capsys, *common, '--set', 'beats_per_bar=4')[1])
    assert figures['meter'] == '4/4' and figures['bars'] == 6


def test_a_change_of_meter_is_told(capsys, tmp_path):
    score = comping()
    score.meters.append(Meter(16.0, 3, 4))
    write_midi(score, tmp_path / 'in.mid')
    code, _, err = run(capsys, 'band', tmp_path / 'in.mid', '-o', tmp_path / 'out.mid', '--set', 'model=rules')
    assert code == 0 and 'changes its meter at beat 16' in err and err.count('\n') == 1


def test_every_track_is_heard_on_a_channel_of_its_own():
    tracks = [Track(20 + number, notes=[Note(number / 4, 0.2, 60)]) for number in range(20)]
    tracks += [Track(0, True, notes=[Note(1.0, 0.2, 38)]), Track(0, True, notes=[Note(2.0, 0.2, 36)])]
    events = part_of(Score(tracks), 8.0)
    keys = {(source, data[0] & 15): data[1] for _, source, data in events if data[0] & 0xF0 == 0x90}
    assert len(keys) == 22 and {place for place in keys if place[1] == 9} == {(0, 9), (1, 9)}
    programs = [data[1] for _, _, data in events if data[0] & 0xF0 == 0xC0]
    assert programs == [20 + number for number in range(20)]


def test_the_clock_of_the_part_follows_its_tempos():
    score = comping(2, tempos=((0.0, 60.0), (4.0, 120.0)))
    times = [time for time, _, data in part_of(score, 8.0) if data[0] == messages.CLOCK]
    assert len(times) == 8 * 24
    assert times[0] == LEAD_IN and times[96] == pytest.approx(LEAD_IN + 4.0)
    assert times[120] == pytest.approx(LEAD_IN + 4.5)


def test_a_key_that_is_struck_again_is_let_go_first():
    score = Score([Track(0, notes=[Note(0.0, 1.0, 60), Note(1.0, 1.0, 60)])])
    keys = [data[0] & 0xF0 for _, _, data in part_of(score, 4.0) if data[0] < 0xF0]
    assert keys == [0x90, 0x80, 0x90, 0x80]


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', sorted(available()))
def test_every_bundled_preset_can_be_rehearsed_and_leaves_nothing_hanging(name):
    made = play(load_preset(available()[name]), comping())
    assert made.figures['hung_notes'] == made.figures['struck_twice'] == 0
    assert made.figures['notes_out'] == sum(len(notes) for notes in band(made).values()) > 0
    assert made.figures['missed_deadlines'] == 0


@pytest.mark.parametrize('mode', MODES)
def test_presence_is_of_the_bars_that_were_asked_for(mode):
    figures = play(preset(mode, player__bars_heard=2, player__bars_answered=2), comping()).figures
    # The band comes in at bar 2; what you play along with an answer asks nothing.
    assert figures['bars_asked'] == {'accompany': 7, 'arrange': 8, 'free': 7, 'respond': 4, 'take_over': 3}[mode]
    if mode in ('accompany', 'free', 'respond'):
        assert all(share > 0.85 for share in figures['presence'].values())


class Mute(FallbackMusician):
    """Leaves the first part out."""

    def answer(self, request):
        for piece in super().answer(request):
            yield type(piece)(piece.request, piece.take, tuple(n for n in piece.notes if n.part), piece.until,
                              piece.done)  # fmt: skip


def test_a_part_that_the_musician_leaves_out_is_played_by_rule_and_counted():
    musician = Through()
    musician.rules = Mute()
    made = play(preset(), comping(), musician)
    assert made.silent == () and made.figures['presence']['bass'] == 1.0
    assert made.figures['bars_asked'] == 7 and made.figures['silent_bars'] == 0
    assert 7 <= made.figures['bars_stood_in'] <= 9  # those that were planned behind the end among them
    bass, others = len(band(made)['bass']), sum(map(len, band(made).values()))
    assert made.figures['by_rule'] == pytest.approx(bass / others, abs=0.01)


def test_a_part_that_never_plays_is_told():
    score = Score([Track(0, True, notes=[Note(float(beat), 0.2, 36 + beat % 2 * 2) for beat in range(32)])])
    made = play(preset(), score)  # of one who only drums nobody knows the harmony
    assert made.silent == ('bass', 'pad') and made.figures['presence']['bass'] == 0.0
    assert made.figures['silent_bars'] == 2 * made.figures['bars_asked'] > 0


def test_parts_of_one_instrument_are_numbered():
    assert part_names(['violin', 'violin', 'viola']) == ['violin 1', 'violin 2', 'viola']


def test_a_picture_is_drawn(capsys, file):
    picture = file.with_name('roll.png')
    code, *_ = run(capsys, 'duet', file, '-o', file.with_name('out.mid'), '--picture', picture, '--set', 'model=rules')
    assert code == 0 and picture.read_bytes().startswith(b'\x89PNG')


# --- what cannot be --------------------------------------------------------------------------------------------------


def _score(kind) -> Score | bytes:
    if kind == 'no notes':
        return Score([Track(0)])
    if kind == 'too fast':
        return comping(tempos=((0.0, 100.0), (8.0, 700.0)))
    if kind == 'odd meter':
        return Score([Track(0, notes=[Note(0.0, 1.0, 60)])], meters=[Meter(0.0, 5, 32)])
    if kind == 'too long':
        return Score([Track(0, notes=[Note(0.0, 1.0, 60), Note(40_000.0, 1.0, 60)])])
    return b'no music'


@pytest.mark.parametrize(
    ('kind', 'said'),
    [('no notes', 'contains no notes'), ('too fast', 'a tempo of 700 BPM at beat 8'), ('odd meter', 'is in 5/32'),
     ('too long', 'lasts 5.56 hours'), ('no file', 'not a MIDI file')],
)  # fmt: skip
def test_a_part_that_cannot_be_played_costs_one_line(capsys, tmp_path, kind, said):
    made = _score(kind)
    if isinstance(made, bytes):
        (tmp_path / 'in.mid').write_bytes(made)
    else:
        write_midi(made, tmp_path / 'in.mid')
    code, out, err = run(capsys, 'band', tmp_path / 'in.mid', '-o', tmp_path / 'out.mid', '--set', 'model=rules')
    assert code == 2 and out == '' and err.startswith('error: ') and err.count('\n') == 1
    assert said in err and not (tmp_path / 'out.mid').exists()


@pytest.mark.parametrize(
    ('argv', 'said'),
    [(['bnd'], "Did you mean 'band'"), (['band', '--set', 'temprature=1'], "Did you mean 'temperature'"),
     (['band', '--set', 'temperature'], 'NAME=VALUE'), (['band', '--seed', '-1'], '--seed must be'),
     (['band', '--plan-ms', 'nan'], '--plan-ms must be'), (['band', '--set', 'model=gone.onnx'], 'gone.onnx'),
     (['band', '--picture', 'roll.jpg'], '.png, .svg or .pdf'), (['isolate-remix'], 'No preset')],
)  # fmt: skip
def test_a_wrong_word_costs_one_line(capsys, file, argv, said):
    code, out, err = run(capsys, argv[0], file, '-o', file.with_name('out.mid'), *argv[1:])
    assert code == 2 and out == '' and err.startswith('error: ') and err.count('\n') == 1 and said in err


def test_the_result_may_not_be_a_recording(capsys, file):
    code, _, err = run(capsys, 'band', file, '-o', file.with_name('out.wav'))
    assert code == 2 and 'end its name in .mid' in err
