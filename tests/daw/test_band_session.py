"""The session of *genaudio band* on a host's time, driven by blocks, without a plug-in."""

import os
import threading

import numpy as np
import pytest
from host_blocks import RATE, HostBlocks, memory

from bridge.daw import band_state
from bridge.daw.meeting_place import LAYOUT, MIDI, Meeting
from bridge.midi.messages import note_off, note_on
from bridge.musicians.rule_musician import FallbackMusician
from genaudio_core.errors import GenaudioError

BEAT = RATE // 2  # frames at 120 BPM


def phrase(bars: int = 2, beat: int = BEAT) -> list[tuple[int, bytes]]:
    """Quarter notes C D E F ... for so many bars of four."""
    notes = [60, 62, 64, 65, 67, 65, 64, 62]
    part = []
    for i in range(4 * bars):
        part += [(i * beat, note_on(0, notes[i % 8], 80)), (round((i + 0.9) * beat), note_off(0, notes[i % 8]))]
    return part


@pytest.fixture
def host():
    hosts = []

    def make(**options) -> HostBlocks:
        hosts.append(HostBlocks(**options))
        return hosts[-1]

    yield make
    for one in hosts:
        one.close()


def answered(host, block=512, beats=16.0):
    host.play()
    host.run(round(beats * BEAT), block, phrase())
    return host


def test_the_answer_begins_on_the_bar_line(host):
    one = answered(host())
    onsets = one.onsets()
    assert onsets[0] == 8 * BEAT
    assert all(8 * BEAT <= at < 16 * BEAT for at in onsets)


@pytest.mark.parametrize('block', [64, 441, 8192])
def test_blocks_of_any_size_give_the_same_notes(host, block):
    assert answered(host(), block).played == answered(host()).played


def test_a_start_that_begins_afresh_gives_the_same_notes(host):
    one = answered(host())
    first, one.played = one.played, []
    one.stop()
    one.run(3333)
    begin = one.position
    answered(one)
    assert [(at - begin, data) for at, data in one.played] == first


def test_the_tempo_moves_what_is_planned_and_what_has_left(host):
    one = host()
    one.play()
    one.run(8 * BEAT - 2000, 500, phrase())  # the first notes of the answer have left
    one.bend(60.0)
    one.run(2 * BEAT, 512)
    assert one.onsets()[0] == 8 * BEAT + 2000


def test_a_stop_ends_what_sounds_and_nothing_comes_after_it(host):
    one = answered(host(), beats=8.5)
    assert one.down
    one.stop()
    assert not one.down
    n = len(one.played)
    one.run(4 * BEAT)
    assert len(one.played) == n


def test_a_jump_to_another_place_drops_the_plan(host):
    one = host()
    one.play()
    one.run(8 * BEAT - 1000, 500, phrase())
    one.play(1.5, afresh=False)
    one.run(8 * BEAT)
    assert one.onsets() == []


OWN = '[player]\nmode = "respond"\nbars_heard = 2\nbars_answered = 2\n'


def test_what_sounds_ends_where_a_setting_needs_another_session(host):
    one = host(values={band_state.PRESET: 0})
    one.state.hear({'set_preset': OWN})
    answered(one, beats=8.5)
    assert one.down
    one.state.hear({'set_preset': OWN + 'instrument = "flute"\n'})
    one.band.settings_changed()
    one.run(1024)
    assert not one.down


def test_what_has_left_and_does_not_sound_yet_ends_there_too(host):
    one = host(values={band_state.PRESET: 0})
    one.state.hear({'set_preset': OWN})
    answered(one, beats=8 - 2000 / BEAT)  # the first notes of the answer have left
    assert not one.down
    one.state.hear({'set_preset': OWN + 'instrument = "flute"\n'})
    one.band.settings_changed()
    one.run(BEAT)
    assert one.onsets() and not one.down


def test_programs_are_told_again_after_a_jump(host):
    """The host may have sent others to what plays the parts, or nothing at all from the place it has come to."""
    one = host(values={band_state.PRESET: 0})
    one.state.hear({'set_preset': OWN + 'programs = true\n'})
    answered(one, beats=12)

    def programs(begin):
        return {data[:2] for at, data in one.played if at >= begin and data[0] >> 4 == 0xC}

    first, begin = programs(0), one.position
    assert first
    one.play(0.0, afresh=False)
    one.run(16 * BEAT, 512, phrase())
    assert programs(begin) == first


def test_a_meter_of_the_host_is_the_bands(host):
    one = host()
    one.meter = (3, 4)
    one.play()
    one.run(16 * BEAT, 512, [(i * BEAT, note_on(0, 60 + i, 80)) for i in range(5)])
    assert one.onsets()[0] == 6 * BEAT


def test_a_start_within_a_bar_answers_on_the_hosts_line(host):
    one = host()
    one.play(2.0)
    one.run(16 * BEAT, 512, [(at + 2 * BEAT, data) for at, data in phrase()])
    assert one.onsets()[0] == 10 * BEAT


def test_parameters_and_buttons_reach_the_session(host):
    one = answered(host(), beats=10)
    one.set(band_state.MODE, 4)
    one.set(band_state.TEMPERATURE, 2)
    one.set(band_state.KEY, 3)
    one.run(1024)
    assert one.band.session is not None
    preset = one.band.session.preset
    assert (preset['player.mode'], preset['music.temperature'], preset['music.key']) == ('free', 1.8, 'C major')
    assert not one.down  # another mode begins with silence


def test_a_take_that_is_kept_is_in_the_state_and_comes_back(host):
    import base64

    from genaudio_core.score.reading import read_midi

    one = answered(host(), beats=16)
    one.set(band_state.KEEP, 1)
    one.run(2048)
    (take,) = one.state.takes
    notes = read_midi(base64.b64decode(take['midi'])).tracks[-1].notes
    assert len(notes) == len(one.onsets())
    other = host()
    other.state.load(one.state.as_text())
    assert other.state.takes == one.state.takes and other.state.as_text() == one.state.as_text()


def test_the_text_of_a_preset_is_kept_with_the_session(host):
    one = answered(host(), beats=1)
    text = one.state.as_text()
    assert 'trading' not in text and 'Duet' in text
    other = host()
    other.state.load(text.replace('bars_answered = 2', 'bars_answered = 1'))
    answered(other, beats=14)
    assert max(other.onsets()) < 12 * BEAT  # as it was when it was saved


def test_what_the_hosts_session_holds_has_nothing_that_a_host_could_take_for_its_own(host):
    """Quotes and backslashes: a session of Ardour's came back with other characters in their place."""
    one, other = host(), host()
    one.state.own = '[about]\ntitle = "50 %22 \\\\ ü"\n'
    text = one.state.as_text()
    assert not set(text) & set('"\\\n') and 'title' in text
    other.state.load(text)
    assert other.state.own == one.state.own


@pytest.mark.parametrize('text', ['', '[]', '{"own": 3, "takes": {}}', '{"takes": [3, {}], "hash": null}', '{' * 5000])
def test_a_broken_state_is_a_new_one(host, text):
    one = host()
    one.state.load(text)
    assert one.state.takes == [] and answered(one).onsets()


def test_a_preset_of_ones_own_is_played_and_a_wrong_one_is_told(host):
    one = host(values={band_state.PRESET: 0})
    one.state.hear({'set_preset': '[player]\nmode = "respond"\nbars_heard = 1\nbars_answered = 1\n'})
    answered(one)
    assert one.onsets()[0] == 4 * BEAT
    one.state.hear({'set_preset': '[player]\nmode = "respnd"\n'})
    one.band.settings_changed()
    one.run(BEAT)
    assert any("'respond'" in line for line in one.lines), one.lines


def test_chords_of_ones_own_are_played_over(host):
    one = host(values={band_state.MODE: 4})
    one.state.hear({'set_chords': 'C | F'})
    one.play()
    one.run(16 * BEAT)
    assert one.band.session is not None and one.band.session.preset['music.chords'] == 'C | F'
    assert one.onsets()


def test_in_real_time_a_backlog_is_left_out(host):
    one = host(offline=False)
    one.play()
    one.run(512)
    for at, data in phrase():
        one.tell(MIDI, int.from_bytes(data, 'little') | len(data) << 24, after=at)
    one.meeting.inbox.write(np.zeros((0, 1), np.float32), 20 * RATE)
    one.band.work()
    assert one.meeting.outbox.end == one.meeting.inbox.end
    assert (
        one.band.session is not None and not list(one.band.session.heard) and not one.band.session.scheduler.planned()
    )


def test_what_rules_play_because_the_model_is_late_is_counted(host):
    assert answered(host()).meeting.words[Meeting.SKIPPED] == 0
    let_go = threading.Event()

    class Late(FallbackMusician):
        def answer(self, request):
            let_go.wait(60)
            yield from super().answer(request)

    one = answered(host(musician=Late, offline=False))
    let_go.set()
    assert one.onsets()[0] == 8 * BEAT and one.band.session is not None
    assert one.meeting.words[Meeting.SKIPPED] == one.band.session.missed > 0


def test_a_fault_of_the_session_ends_notes_and_goes_on(host, monkeypatch):
    one = answered(host(), beats=8.5)
    assert one.down
    monkeypatch.setattr(one.band.session, 'step', lambda: 1 / 0)
    one.run(2048)  # long before the notes would have ended by themselves
    assert not one.down and any('ZeroDivisionError' in line for line in one.lines)
    begin = one.position
    one.stop()
    answered(one)
    assert min(at for at in one.onsets() if at > begin) == begin + 8 * BEAT


@pytest.mark.parametrize(('word', 'value'), [(0, 1), (1, LAYOUT + 1), (2, 8), (4, 2), (5, 1 << 40), (4, -1)])
def test_memory_of_another_layout_is_refused_with_a_line(word, value):
    """Magic number, layout, bytes and rings: nothing is read by what the header says before all of it agrees."""
    descriptor = memory()
    os.pwrite(descriptor, np.array([value], np.int64).tobytes(), 8 * word)
    with pytest.raises(GenaudioError, match='another layout of memory'):
        Meeting(descriptor)
