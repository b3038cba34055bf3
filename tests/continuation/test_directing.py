"""No cue is missed and no rule broken, whatever a model would play by itself."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tiny_decoder import FakeBuffers, FakeDecoder

import genaudio_core.continuation.continuer as continuation
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.cues import Cue, Direction, PartRules, who
from genaudio_core.continuation.directing import DirectedSampler
from genaudio_core.continuation.sampling import Controls, EventSampler
from genaudio_core.music.events import decode_table, header
from genaudio_core.music.layouts import DESCRIBED, DURATIONS, LIVE, NOTE
from genaudio_core.score.instruments import DRUMS_CODE, RANGE, instrument_code, instrument_name

BAND = ('piano', 'flute', 'violin', 'drums')
CODES = [instrument_code(name) for name in BAND]


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(continuation, 'Buffers', FakeBuffers)


def wild(seed: int, encoding=LIVE):
    """Logits that are other ones for every event and field, and strong ones."""
    rng = np.random.default_rng(seed)

    def rule(field: str, chosen: object) -> np.ndarray:
        return rng.normal(0, 3, encoding.sizes[encoding.index(field)]).astype(np.float32)

    return rule


def sampler(*, seed=0, takes=1, encoding=LIVE, rule=None, band=BAND, origin=0, **controls) -> DirectedSampler:
    decoder = FakeDecoder(encoding, context=2048, rule=rule or wild(seed, encoding))
    continuer = Continuer(decoder, takes)  # type: ignore[arg-type]
    continuer.feed(header(band, encoding))
    rngs = [np.random.default_rng([seed, take]) for take in range(takes)]
    return DirectedSampler(continuer, Controls(instruments=band, **controls), rngs, origin=origin)


def play(player: EventSampler, end: int) -> list[np.ndarray]:
    """Until nothing more begins before `end`; the notes of each take as (n, 4): step, instrument, pitch, duration."""
    continuer, going = player.continuer, np.ones(player.continuer.takes, bool)
    found: list[list[tuple[int, ...]]] = [[] for _ in range(continuer.takes)]
    column = player.encoding.columns
    while going.any() and continuer.room:
        chosen = player.next_events(latest=end, active=going)
        going &= chosen[:, 0] == NOTE
        if not going.any():
            break
        player.advance(chosen)
        for take in np.flatnonzero(going):
            row = chosen[take]
            found[take].append(
                (int(continuer.steps[take, -1]), int(row[column['instrument']]), int(row[column['pitch']]) - 1,
                 int(DURATIONS[row[column['duration']] - 1]))
            )  # fmt: skip
    return [np.array(notes, int).reshape(-1, 4) for notes in found]


def done(cue: Cue, notes: np.ndarray) -> bool:
    """Whether the notes (n, 4) of a take do what the cue asks for."""
    begin = cue.latest if cue.earliest is None else cue.earliest
    mine = notes[(notes[:, 1] == cue.instrument) & (notes[:, 0] >= begin) & (notes[:, 0] <= cue.latest)]
    mine = mine[np.isin(mine[:, 2], list(cue.pitches))] if cue.pitches else mine
    return any((mine[:, 0] == step).sum() >= cue.notes for step in set(mine[:, 0].tolist()))


@st.composite
def directions(draw, steps: int = 96):
    """A direction that can be kept to: what it asks for is allowed, and a flute has one cue at a time."""
    rules, cues = {}, []
    for code in CODES:
        name = instrument_name(code)
        low, high = RANGE[name]
        if draw(st.booleans()):
            one = PartRules.free(name, 0, steps)
            rng = np.random.default_rng(draw(st.integers(0, 999)))
            share = draw(st.sampled_from([0.1, 0.5, 0.9]))
            one.may_begin[rng.random(one.may_begin.shape) > share] = False
            one.may_sound[rng.random(one.may_sound.shape) > 0.97] = False
            rules[code, 1] = one
        for latest in draw(st.lists(st.integers(0, steps - 1), max_size=6, unique=True)):
            allowed = rules[code, 1].may_begin[latest] if (code, 1) in rules else np.ones(128, bool)
            there = [pitch for pitch in np.flatnonzero(allowed).tolist() if low <= pitch <= high]
            notes = draw(st.integers(1, 3)) if name == 'piano' else 1
            if len(there) < notes:
                continue
            chosen = draw(st.sets(st.sampled_from(there), min_size=notes, max_size=8)) if draw(st.booleans()) else ()
            earliest = draw(st.one_of(st.none(), st.integers(0, latest)))
            cues.append(Cue(code, latest, earliest, pitches=frozenset(chosen), notes=notes))
    return Direction(tuple(draw(st.permutations(cues))), rules)


@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(directions(), st.integers(0, 10_000), st.integers(1, 3))
def test_no_cue_is_missed_and_no_rule_is_broken(direction, seed, takes):
    player = sampler(seed=seed, takes=takes)
    player.direct(direction)
    for take, notes in enumerate(play(player, 96)):
        assert player.continuer.room
        assert not player.open_cues(take)
        for cue in direction.cues:
            assert done(cue, notes), cue
        sounding: dict[int, list[int]] = {}
        for step, code, pitch, duration in notes.tolist():
            rules = direction.rules.get((code, 1))
            if rules is None:
                continue
            assert rules.may_begin[step, pitch]
            if code != DRUMS_CODE and duration > 1:
                assert rules.may_sound[step + 1 : step + duration, pitch].all()
            held = [end for end in sounding.get(code, []) if end > step + 1]
            assert len(held) < rules.voices or (len(held) and any(cue.latest == step for cue in direction.cues))
            sounding[code] = [*held, step + duration]
        # Within a moment each key is struck once, in the order of the events.
        assert len({tuple(row) for row in notes[:, :3].tolist()}) == len(notes)
        assert notes[:, :3].tolist() == sorted(notes[:, :3].tolist())


def test_a_flute_plays_one_note_at_a_time():
    player = sampler(seed=3, density=2.0)
    steps = 480
    player.direct(
        Direction(
            tuple(Cue(who('flute')[0], step) for step in range(0, steps, 24)),
            {who('flute'): PartRules.free('flute', 0, steps)},
        )
    )
    (notes,) = play(player, steps)
    flute = notes[notes[:, 1] == who('flute')[0]]
    assert len(flute) >= 20
    assert (flute[:-1, 0] + flute[:-1, 3] <= flute[1:, 0] + 1).all()


def test_without_a_direction_the_music_is_that_of_the_free_sampler():
    bare = sampler(seed=5)
    free = EventSampler(sampler(seed=5).continuer, bare.controls, [np.random.default_rng([5, 0])])
    assert play(bare, 200)[0].tolist() == play(free, 200)[0].tolist()


def test_a_model_that_plays_what_is_asked_is_left_alone():
    """Its own note counts; nothing is drawn twice, nothing is said to be cued."""
    piano, _ = who('piano')

    def steady(field: str, chosen: object) -> np.ndarray:
        wanted = {'beat': 2, 'position': 1, 'instrument': piano, 'pitch': 61, 'duration': 6, 'velocity': 20}
        logits = np.full(LIVE.sizes[LIVE.index(field)], -50.0, np.float32)
        logits[wanted.get(field, 0)] = 50
        return logits

    player = sampler(rule=steady)
    player.direct(Direction(tuple(Cue(piano, step, pitches=frozenset({60})) for step in range(12, 96, 12))))
    (notes,) = play(player, 96)
    assert notes[:, 0].tolist() == list(range(12, 96, 12))
    assert player.notes[0] == 7
    assert player.cued[0] == 0


def test_a_silent_model_is_cued_and_it_is_counted():
    """It would never play; what it has to play is counted as cued, and by rule where nothing was left to choose."""
    flute, drums = who('flute')[0], DRUMS_CODE

    def silent(field: str, chosen: object) -> np.ndarray:
        logits = np.zeros(LIVE.sizes[LIVE.index(field)], np.float32)
        if field == 'beat':
            logits[-1] = 50
        return logits

    player = sampler(rule=silent, max_rest=100)
    cues = [Cue(flute, step) for step in (0, 24, 48)] + [Cue(drums, step, pitches=frozenset({38})) for step in (12, 36)]
    player.direct(Direction(tuple(cues)))
    (notes,) = play(player, 96)
    assert notes[:, :2].tolist() == [[0, flute], [12, drums], [24, flute], [36, drums], [48, flute]]
    assert (player.notes[0], player.cued[0], player.by_rule[0]) == (5, 5, 2)


def test_what_is_not_allowed_thins_the_music_out_and_does_not_squeeze_it_together():
    """A part that rests takes its notes with it: the others play no more than they would have."""
    violin, flute = who('violin')[0], who('flute')[0]

    def two(field: str, chosen: object) -> np.ndarray:
        size = LIVE.sizes[LIVE.index(field)]
        if field == 'beat':  # in every other beat, whatever was before
            return np.where(np.arange(size) > 1, -np.log(2) * np.arange(size), -50.0).astype(np.float32)
        logits = np.full(size, -50.0, np.float32)
        on = {'position': [1], 'instrument': [violin, flute]}.get(field)
        logits[on if on else slice(1, None)] = 0
        return logits

    steps = 1200
    rests = PartRules.free('flute', 0, steps)
    rests.may_begin[:] = False
    player = sampler(rule=two, max_rest=100)
    player.direct(Direction(rules={who('flute'): rests}))
    (notes,) = play(player, steps)
    assert set(notes[:, 1].tolist()) == {violin}
    assert 15 <= len(notes) <= 35  # in one of two beats there is a note, of which every other is the flute's


def test_who_plays_by_himself_is_not_played_for():
    lead = sampler(band=('piano', 'lead'), seed=1, max_rest=100)
    lead.controls = lead.controls.with_(instruments=('piano',))
    code = instrument_code('lead')
    lead.direct(Direction((Cue(who('piano')[0], 95),), others=frozenset({code})))
    (notes,) = play(lead, 96)
    assert set(notes[:, 1].tolist()) == {who('piano')[0]}


def test_steps_of_a_direction_may_begin_elsewhere():
    player = sampler(seed=2, origin=1000)
    player.direct(Direction((Cue(who('flute')[0], 1010), Cue(who('violin')[0], 1005))))
    (notes,) = play(player, 24)
    assert {(5, who('violin')[0]), (10, who('flute')[0])} <= {(step, code) for step, code, *_ in notes.tolist()}


def test_parts_of_an_instrument_are_cued_each_where_notes_know_their_part():
    piano = who('piano')[0]
    for seed in range(8):
        player = sampler(seed=seed, encoding=DESCRIBED, band=('piano', 'drums'))
        row = np.zeros((2, len(DESCRIBED.fields)), np.int64)
        column = DESCRIBED.columns
        row[:, 0] = NOTE
        row[:, 1:3] = 1
        row[:, column['instrument']], row[:, column['part']] = piano, [1, 2]
        row[:, column['pitch']], row[:, column['duration']], row[:, column['velocity']] = 61, 4, 20
        player.continuer.feed(row)
        player = DirectedSampler(player.continuer, player.controls, player.rngs)
        cues = [Cue(piano, step, part=part, notes=2) for step in (12, 30, 48) for part in (2, 1)]
        player.direct(Direction(tuple(cues)))
        play(player, 96)
        table = decode_table(player.continuer.events[0], DESCRIBED)
        for cue in cues:
            assert ((table['step'] == cue.latest) & (table['track'] == cue.part - 1)).sum() >= 2


def test_a_note_ends_where_it_may_sound_no_longer():
    rules = PartRules.free('violin', 0, 96)
    rules.only(48, 96, {0, 4, 7})
    assert rules.longest(40, 61) == 8
    assert rules.longest(40, 60) is None
    assert not rules.may_begin[50, 61]
    assert rules.may_begin[47, 61]
    assert rules.may_begin[50, 60]


@pytest.mark.parametrize('seed', range(6))
def test_the_voices_of_a_hymn_sing_a_note_each(seed):
    """Four cues of one instrument at one step are four notes, from low to high, each in its own register."""
    voices = instrument_code('voices')
    registers = [frozenset(range(low, low + 12)) for low in (43, 48, 55, 60)]
    player = sampler(seed=seed, band=('voices', 'drums'))
    steps = (6, 18, 30)
    player.direct(Direction(tuple(Cue(voices, step, pitches=notes) for step in steps for notes in registers[::-1])))
    (notes,) = play(player, 48)
    for step in steps:
        sung = notes[(notes[:, 0] == step) & (notes[:, 1] == voices), 2].tolist()
        chosen = iter(sung)
        assert all(any(pitch in register for pitch in chosen) for register in registers)
    assert not player.open_cues()


def test_a_pad_is_held():
    code = who('piano')[0]
    player = sampler(seed=4)
    rules = PartRules.free('piano', 0, 96)
    rules.only(48, 96, {0, 4, 7})
    wanted = Cue(code, 12, pitches=frozenset({61, 65, 68, 72}), notes=3, lasts=48)
    player.direct(Direction((wanted,), {who('piano'): rules}))
    (notes,) = play(player, 90)
    held = {pitch: length for step, one, pitch, length in notes.tolist() if (step, one) == (12, code)}
    assert len(held) >= 3
    assert all(length >= (48 if pitch % 12 in {0, 4, 7} else 36) for pitch, length in held.items() if pitch > 60)


def test_a_note_struck_again_does_not_end_sooner_and_takes_no_second_hand():
    part = who('strings')
    rules = PartRules.free('strings', 0, 96)
    rules.may_begin[:] = False
    rules.may_begin[[0, 12, 24], 60] = True
    one = frozenset({60})
    cues = (Cue(part[0], 0, pitches=one, lasts=48), Cue(part[0], 12, pitches=one), Cue(part[0], 24, pitches=one))
    for seed in range(5):
        player = sampler(band=('strings',), seed=seed)
        player.direct(Direction(cues, {part: rules}))
        notes = play(player, 48)[0]
        assert notes[:, 0].tolist() == [0, 12, 24]
        assert (notes[:, 0] + notes[:, 3] >= 48).all()
        assert len(player._takes[0].busy[part]) == 1
