import random
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.soundfont import FontSampler, PlayedNote, find_font
from genaudio_core.training.mixtures import solo_mixtures
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES, PROGRAM_TO_CONCEPT, RECORDING_LABELS, related
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter
from genaudio_core.training.sounds.recordings import concept_of, split_of
from genaudio_core.training.sounds.soundfont_clips import Phrase, PhraseBook, level, perform


def noise(channels, n, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, n)).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    with SoundWriter(tmp_path / 's') as writer:
        for i, label in enumerate(['piano', 'drums', 'violin', 'rain', 'flute']):
            for split in ('train', 'test'):
                writer.add(noise(1, 44100, i), 44100, label=label, kind='solo', split=split, source='x')
        for i, role in enumerate(('drums', 'bass', 'lead')):
            writer.add(noise(2, 60_000, 9 + i), 44100, label=('drums', 'electric bass', 'violin')[i], kind='stem',
                       split='train', group='song', role=role)  # fmt: skip
        writer.add(noise(1, 9000, 20), 44100, label='noise', kind='noise', split='train')
    return tmp_path / 's'


def test_folders_are_read_as_one(folder, tmp_path):
    with SoundWriter(tmp_path / 'more') as writer:
        writer.add(noise(1, 5000, 30), 44100, label='oboe', kind='solo', split='train')
    both, one = SoundSet(folder, tmp_path / 'more'), SoundSet(folder)
    assert len(both.clips) == len(one.clips) + 1
    assert_allclose(both.read(both.select(label='oboe')[0]), noise(1, 5000, 30), atol=1 / 32767)
    for a, b in zip(both.clips, one.clips, strict=False):
        assert a == b and (both.read(a) == one.read(b)).all()
    with pytest.raises(GenaudioError, match='no prepared sounds'):
        SoundSet(folder, tmp_path / 'none')


def test_a_source_is_heard_faster_or_slower_at_the_same_length(tmp_path):
    t = np.arange(2 * 44100) / 44100
    with SoundWriter(tmp_path) as writer:
        writer.add(0.3 * np.sin(2 * np.pi * 1000 * t)[None], 44100, label='flute', kind='solo', split='train')
    mixer = MixtureMaker(SoundSet(tmp_path), 'train', MixtureConfig(seconds=0.5, speed=0.5))
    rng, heard = random.Random(1), []
    for _ in range(30):
        audio = mixer.crop(mixer.choose('flute', rng), rng)
        assert audio is not None and audio.shape == (mixer.n_samples,)
        heard.append(np.argmax(np.abs(np.fft.rfft(audio))) / 0.5)
    assert 700 < min(heard) < 850 and 1200 < max(heard) < 1420


@pytest.mark.parametrize('labels', [(), ('flute',), ('piano', 'electric piano')])
def test_sounds_that_make_no_mixture_are_told_and_not_waited_for(tmp_path, labels, monkeypatch):
    monkeypatch.setattr(solo_mixtures, 'MIXING_TRIES', 50)
    with SoundWriter(tmp_path) as writer:
        writer.add(noise(1, 44100), 44100, label='rain', kind='solo', split='test')
        for label in labels:
            writer.add(np.zeros((1, 44100), np.float32), 44100, label=label, kind='solo', split='train')
    with pytest.raises(GenaudioError, match=r"In the split 'train' of .* no two sounds"):
        MixtureMaker(SoundSet(tmp_path), 'train').draw(random.Random(1))


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_stems_are_drawn_as_often_as_asked(folder, share):
    mixer = MixtureMaker(SoundSet(folder), 'train', MixtureConfig(stems=share))
    rng = random.Random(2)
    assert {mixer.choose('drums', rng).kind for _ in range(20)} == {'stem' if share else 'solo'}
    assert mixer.choose('piano', rng).kind == 'solo'  # there is nothing else


def test_what_goes_in_comes_out(folder):
    sounds = SoundSet(folder)
    clip = sounds.select(kind='stem')[1]
    assert (clip.label, clip.channels, clip.sample_rate, clip.role) == ('electric bass', 2, 44100, 'bass')
    assert_allclose(sounds.read(clip), noise(2, 60_000, 10), atol=1 / 32767)
    assert_allclose(sounds.read(clip, 1000, 500), noise(2, 60_000, 10)[:, 1000:1500], atol=1 / 32767)
    tail = sounds.read(clip, 59_900, 300)
    assert tail.shape == (2, 300) and not tail[:, 100:].any()


def test_a_second_writer_adds_to_what_is_there(folder):
    before = SoundSet(folder)
    with SoundWriter(folder) as writer:
        writer.add(noise(1, 100), 22050, label='organ', kind='solo', split='valid')
    after = SoundSet(folder)
    assert after.clips[:-1] == before.clips
    assert after.clips[-1].shard != before.clips[-1].shard
    assert after.select(split='valid', label='organ')[0].sample_rate == 22050


def test_bands_stay_together(folder):
    (stems,) = SoundSet(folder).groups(split='train').values()
    assert [s.role for s in stems] == ['drums', 'bass', 'lead']
    assert len({s.n_samples for s in stems}) == 1


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(GenaudioError, match='genaudio-train prepare-sounds'):
        SoundSet(tmp_path)


def test_an_empty_set_is_not_left_behind(tmp_path):
    with SoundWriter(tmp_path / 'none'):
        pass
    assert list((tmp_path / 'none').iterdir()) == []


@pytest.mark.parametrize('harm', ['binary', 'no json', 'other json', 'cut shard', 'no shard', 'list'])
def test_a_damaged_set_is_one_line(folder, harm):
    index, shard = folder / 'index.jsonl', folder / 'shard-000.pcm'
    if harm == 'cut shard':
        shard.write_bytes(shard.read_bytes()[:-2])
    elif harm == 'no shard':
        shard.unlink()
    else:
        bad = {'binary': b'\xdb\xff\n', 'no json': b'{"label"\n', 'other json': b'{"a": 1}\n', 'list': b'[1]\n'}[harm]
        index.write_bytes(index.read_bytes() + bad)
    with pytest.raises(GenaudioError) as caught:
        SoundSet(folder)
    assert '\n' not in str(caught.value) and str(folder) in str(caught.value)


def test_mixtures_repeat_and_differ(folder):
    mixer = MixtureMaker(SoundSet(folder), 'train', MixtureConfig(seconds=0.2, noise=1.0))
    first, again = mixer.draw(random.Random(3)), mixer.draw(random.Random(3))
    assert first.labels == again.labels and np.array_equal(first.mix, again.mix)
    for seed in range(20):
        mixture = mixer.draw(random.Random(seed))
        assert len(set(mixture.labels)) == len(mixture.labels) >= 2
        assert mixture.noise.any()
        assert_allclose(mixture.mix, mixture.sources.sum(0) + mixture.noise)
        assert not any(related(mixer.absent(mixture, random.Random(seed)), label) for label in mixture.labels)


def test_two_sources_when_asked(folder):
    mixer = MixtureMaker(SoundSet(folder), 'test', MixtureConfig(seconds=0.2, noise=0.0, related=0.0))
    for seed in range(10):
        mixture = mixer.draw(random.Random(seed), 2)
        assert len(mixture.labels) == 2 and not related(*mixture.labels)


def test_lexicon_is_sound():
    words = [w for c in CONCEPTS for w in (c.name, *c.synonyms)]
    doubles = {w for w in words if words.count(w) > 1}
    assert not doubles
    assert set(RECORDING_LABELS.values()) <= set(NAMES)
    assert len(PROGRAM_TO_CONCEPT) >= 98
    assert related('violin', 'strings') and not related('violin', 'drums')


def test_labels_of_recordings():
    assert concept_of('Dog bark') == 'dog bark'
    assert concept_of('closed hi-hat') == 'hi-hat'
    assert concept_of('acoustic guitar') == 'acoustic guitar'
    assert concept_of('styrofoamnoises') == ''


def test_splits_are_fixed_and_fair():
    names = [f'piece {i}' for i in range(2000)]
    splits = [split_of(name) for name in names]
    assert splits == [split_of(name) for name in names]
    assert 150 < splits.count('test') < 260 and 60 < splits.count('valid') < 150


def phrase():
    notes = [PlayedNote(i * 0.5, i * 0.5 + 0.4, 40 + i % 12, 64) for i in range(60)]
    return Phrase('p', 'piano', notes, 1.0)


def test_a_phrase_is_moved_into_range():
    flute = next(c for c in CONCEPTS if c.name == 'flute')
    for seed in range(10):
        notes = perform(phrase(), flute, 8.0, random.Random(seed))
        assert notes and all(flute.low <= n.note <= flute.high and 1 <= n.velocity <= 127 for n in notes)
        assert all(0 <= n.start <= 8.01 and n.end > n.start for n in notes)


def test_a_book_gives_what_can_be_played():
    drums = phrase()._replace(concept='drums')
    chords = phrase()._replace(polyphony=3.0)
    book = PhraseBook([phrase(), drums, chords])
    by_name = {c.name: c for c in CONCEPTS}
    assert book.choose(by_name['drums'], random.Random(0)) is drums
    assert book.choose(by_name['violin'], random.Random(0)).polyphony == 1.0


def test_level_brings_sounds_to_one_loudness():
    for gain in (0.001, 0.5):
        assert_allclose(np.sqrt(np.mean(level(noise(1, 44100) * gain, 0.05) ** 2)), 0.05, rtol=0.02)
    assert np.abs(level(noise(1, 44100), 10.0)).max() <= 0.951
    assert not level(np.zeros((1, 5000), np.float32)).any()


def test_a_missing_font_names_its_package():
    with pytest.raises(GenaudioError, match='apt-get install some-soundfont'):
        find_font('missing.sf2', 'some-soundfont')


def test_notes_sound_at_their_pitch_and_time(test_font):
    sampler = FontSampler(test_font, 22050)
    audio = sampler.play([PlayedNote(0.5, 1.2, 69, 100)], 73, False, 1.5).mean(axis=0)
    sampler.close()
    assert audio.shape == (33075,)
    assert np.abs(audio[:10_800]).max() < 1e-3
    spectrum = np.abs(np.fft.rfft(audio[12_000:23_000] * np.hanning(11_000), 22050))
    assert abs(spectrum[300:600].argmax() + 300 - 440) < 8


def test_nothing_rings_on_into_the_next_sound(test_font):
    sampler = FontSampler(test_font)
    held = [PlayedNote(0.0, 9.0, note, 110) for note in range(50, 80, 3)]
    assert np.abs(sampler.play(held, 89, False, 1.0)).max() > 0.05
    silent = sampler.play([PlayedNote(0.5, 0.6, 60, 1)], 115, False, 0.4)
    sampler.close()
    assert np.abs(silent).max() < 1e-4


def test_a_varied_solo_is_another_instrument_and_in_tune(monkeypatch, test_font):
    """What one voice moves is back for the next; a plain note afterwards sounds as it did before."""
    from genaudio_core.training.sounds import prepare
    from genaudio_core.training.sounds.altered_voices import AlteredVoice

    sampler = FontSampler(test_font)
    notes = [PlayedNote(0.1, 1.3, 69, 100)]

    def spectrum(audio):
        return np.abs(np.fft.rfft(audio.mean(0)[8820:52_920] * np.hanning(44_100)))

    def alike(a, b):
        return np.corrcoef(a[:4000], b[:4000])[0, 1]

    before = spectrum(sampler.play(notes, 40, False, 1.5))
    voice = AlteredVoice('f', shift=5, generators={51: -5.0, 8: -3600.0, 34: 2000.0})
    monkeypatch.setattr(prepare, 'draw_voices', lambda fonts, is_drums, rng: [voice])
    monkeypatch.setattr(prepare, 'coarsen', lambda audio, rate, rng: audio)
    varied = spectrum(prepare._play_varied(notes, 40, False, 1.5, {'f': sampler}, random.Random(1)))
    after = spectrum(sampler.play(notes, 40, False, 1.5))
    sampler.close()
    assert alike(before, after) > 0.99 > alike(before, varied)
    peak = varied[400:480].argmax() + 400
    assert abs(peak - 440) < 6 and varied[400:480].max() > 10 * np.median(varied[400:480])
    assert varied[4000:].sum() / varied.sum() < before[4000:].sum() / before.sum()  # the filter is lower


def test_solos_vary_in_training_only(tmp_path, monkeypatch):
    from genaudio_core.training.sounds import prepare

    seen = []

    def render_solos(to, *, vary, **options):
        seen.append((to.split, vary))
        return 0.0

    monkeypatch.setattr(prepare, 'render_solos', render_solos)
    monkeypatch.setattr(prepare, 'render_bands', lambda *args, **options: 0.0)
    monkeypatch.setattr(prepare, 'gather_pieces', lambda *args, **options: {})
    monkeypatch.setattr(prepare, 'find_font', lambda *args: None)
    monkeypatch.setattr(prepare, 'FontSampler', lambda path: type('Silent', (), {'close': lambda self: None})())
    prepare.prepare_sounds(tmp_path / 'a', tmp_path, None, vary=True)
    prepare.prepare_sounds(tmp_path / 'b', tmp_path, None)
    assert {split for split, vary in seen[:4] if vary} == {'train'} and not any(vary for _, vary in seen[4:])
    assert [split for split, vary in seen[:4] if not vary] == ['test', 'valid']


def test_a_coarse_sound_keeps_its_length_and_loses_its_brilliance():
    from genaudio_core.training.sounds.altered_voices import SHARE_COARSE, coarsen

    audio, heard = noise(2, 44_100), []
    for seed in range(200):
        out = coarsen(audio, 44_100, np.random.default_rng(seed))
        assert out.shape == audio.shape and out.dtype == np.float32 and np.abs(out).max() < 1
        heard.append(out is audio)
        if out is not audio:
            high = slice(13_000, None)
            before, after = (np.abs(np.fft.rfft(x))[:, high].mean() for x in (audio, out))
            assert after < 0.5 * before
    assert 0 < 200 - sum(heard) < 200 * 3 * SHARE_COARSE
