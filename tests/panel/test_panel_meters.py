"""Levels and pictures of stems, read beside whoever writes them."""

import base64

import numpy as np
import pytest

from bridge.audio.shared_ring import Ring
from bridge.panel.meters import BANDS, FLOOR, HIGHEST, LOWEST, Meters, Sound
from genaudio_core.sound.loudness import integrated_loudness

RATE = 48000


@pytest.fixture
def rings():
    inbox, outbox = Ring(2), Ring(6)
    yield inbox, outbox
    inbox.close()
    outbox.close()


def tone(hertz: float, level: float, seconds: float = 1.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def heard(rings, out: np.ndarray, given: np.ndarray):
    """The highest peaks and last loudness, and all columns as (n, pairs, BANDS)."""
    inbox, outbox = rings
    meters = Meters(Sound(inbox.name, outbox.name, 6, RATE))
    levels, columns = [[FLOOR, FLOOR]] * 4, []
    for at in range(0, out.shape[1] - 479, 480):
        inbox.write(given[:, at : at + 480])
        outbox.write(out[:, at : at + 480])
        now, new = meters.read()
        columns += new
        if now:
            levels = [[max(before[0], one[0]), one[1]] for before, one in zip(levels, now, strict=True)]
    meters.close()
    pictures = [np.frombuffer(base64.b64decode(one), np.uint8).reshape(4, BANDS) for one in columns]
    return levels, np.array(pictures)


@pytest.mark.parametrize('kind', ['noise', 'bass', 'treble'])
def test_levels_are_the_peak_and_the_loudness_of_each_pair(rings, kind):
    rng = np.random.default_rng(0)
    x = {'noise': rng.standard_normal(RATE).astype(np.float32) * 0.1, 'bass': tone(60, 0.5), 'treble': tone(6000, 0.2)}[
        kind
    ]
    out = np.zeros((6, RATE), np.float32)
    out[0], out[1], out[4] = x, 0.5 * x, 0.1 * x
    levels, _ = heard(rings, out, np.stack([x, x]))
    for pair, sound in ((0, out[:2]), (2, out[4:]), (3, np.stack([x, x]))):
        assert levels[pair][1] == pytest.approx(integrated_loudness(sound, RATE), abs=0.5)
    assert levels[0][0] == pytest.approx(20 * np.log10(np.abs(x).max()), abs=0.1)
    assert levels[0][0] - levels[2][0] == pytest.approx(20, abs=0.2)
    assert levels[1] == [FLOOR, pytest.approx(FLOOR - 0.7, abs=0.1)]


@pytest.mark.parametrize('hertz', [70.0, 440.0, 9000.0])
def test_a_picture_has_its_tone_where_it_is(rings, hertz):
    out = np.zeros((6, RATE), np.float32)
    out[2] = out[3] = tone(hertz, 1.0)
    _, pictures = heard(rings, out, np.zeros((2, RATE), np.float32))
    assert len(pictures) > 20 and not pictures[:, [0, 2, 3]].any()
    band = BANDS * np.log(hertz / LOWEST) / np.log(HIGHEST / LOWEST)
    assert abs(int(pictures[-1, 1].argmax()) + 0.5 - band) <= 2
    assert pictures[-1, 1].max() > 240


def test_who_reads_seldom_gets_what_is_newest_and_nothing_is_made_of_what_is_gone(rings):
    inbox, outbox = rings
    meters = Meters(Sound(inbox.name, outbox.name, 6, RATE))
    for part in np.split(np.full((6, 480_000), 0.5, np.float32), 100, axis=1):
        inbox.write(part[:2])
        outbox.write(part)
    levels, columns = meters.read()
    assert levels[0][0] == pytest.approx(-6, abs=0.1) and len(columns) <= 4
    assert meters.read() == ([], [])
    read = meters._out.read_into

    def slowly(out, position):
        more = np.full((6, 2048), 0.5, np.float32)
        inbox.write(more[:2])
        outbox.write(more)
        return read(out, position)

    slowly(np.zeros((6, 1), np.float32), 0)
    meters._out.read_into = slowly  # a machine so busy that as much came meanwhile
    assert meters.read()[0]
    meters.close()
    inbox.close()
    outbox.close()
    with pytest.raises(OSError):
        Meters(Sound(inbox.name, outbox.name, 6, RATE))
