"""What a note tells of its part: causal features are the same live and from a file, and look at nothing that comes."""

import numpy as np

from genaudio_core.music.part_features import (
    WINDOW,
    CausalWindow,
    causal_features,
    mixture_order,
    part_codes,
    whole_features,
)


def music(n: int = 90, seed: int = 0):
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0, 0, 0.25, 0.5, 1.0], n))
    pitch, length = rng.integers(40, 80, n), rng.choice([0.25, 0.5, 1.5], n)
    order = mixture_order(onset, pitch, length)
    return onset[order], pitch[order], (onset + length)[order]


def test_keys_that_go_down_and_up_give_the_features_of_the_file():
    onset, pitch, end = music()
    # A key cannot go down twice: of equal notes that overlap the first one would be let go with the second.
    window, rows, events = CausalWindow(), [], [(time, 0, key) for time, key in zip(end, pitch, strict=True)]
    events += [(time, 1, key) for time, key in zip(onset, pitch, strict=True)]
    held: dict[int, int] = {}
    overlapping = False
    for time, down, key in sorted(events):
        if down:
            rows.append(window.row(time, key)[0])
            window.begin(time, key)
            overlapping |= held.get(key, 0) > 0
            held[key] = held.get(key, 0) + 1
        else:
            held[key] -= 1
            if not held[key]:
                window.end(time, key)
    wanted = causal_features(onset, pitch, end)
    same = np.isclose(np.array(rows), wanted).all(axis=1)
    assert same.mean() > 0.9  # notes of one pitch on top of each other apart
    assert not overlapping or not same.all()


def test_causal_features_know_nothing_of_later_notes_nor_of_lengths_to_come():
    onset, pitch, end = music()
    i = 50
    before = causal_features(onset, pitch, end)[: i + 1]
    unknown = np.where(end > onset[i], end + 3, end)
    assert np.array_equal(before, causal_features(onset[: i + 1], pitch[: i + 1], unknown[: i + 1]))


def test_chord_in_numbers():
    onset, pitch, end = np.array([0.0, 0, 0, 1, 1]), np.array([48, 60, 64, 47, 66]), np.array([2.0, 1, 1, 2, 2])
    causal, whole = causal_features(onset, pitch, end), whole_features(onset, pitch, end)
    assert causal[1, 4] * 4 == 1 and causal[1, 5] == 0 and causal[1, 6] * 12 == 12  # one below, an octave away
    assert causal[3, 4] == 0 and causal[3, 5] * 4 == 1  # the held 48 sounds above 47, the others have ended
    assert whole[1, 4] * 4 == 1 and whole[1, 5] * 4 == 1  # below and above, those that begin later in the chord too
    assert whole[2, 8] * 12 == 2 and whole[2, 9] == 1  # 64 goes on to 66
    assert len(causal_features(np.empty(0), np.empty(0), np.empty(0))) == 0


def test_far_more_notes_than_are_looked_back_at_are_no_matter():
    n = 3 * WINDOW
    found = causal_features(np.arange(n, dtype=float), np.full(n, 60), np.arange(n) + 0.5)
    assert np.allclose(found[WINDOW + 1 :], found[WINDOW + 1])


def test_parts_of_one_instrument_are_told_apart():
    codes, rank, numbers = part_codes(['violin', 'violin', 'viola', 'cello'])
    assert codes[0] == codes[1] and rank[0] != rank[1] and len(set(rank[1:3])) == 2
    assert rank[0] != part_codes(['violin', 'viola'])[1][0]  # one of two is not the only one
    assert numbers.shape == (4, 5) and numbers[3, 3] < numbers[0, 3]  # lower ranges below a cello: none
