"""Piano rolls: a colour for each part, strong for loud notes, and what is new is told from what was given."""

import pytest

from genaudio_core.music import piano_roll
from genaudio_core.music.piano_roll import COLOURS, Part, bar_lines, draw
from genaudio_core.score.notes import Meter, Note, Score

LOUD, SOFT = Note(0.0, 1.0, 60, 127), Note(1.0, 1.0, 62, 20)


@pytest.fixture
def drawn(monkeypatch):
    """The bars of each part: (name, [(row, colour, width of the edge)])."""
    found = {}
    add = piano_roll._add

    def look(axes, part, colour, row):
        before = len(axes.collections)
        add(axes, part, colour, row)
        found[part.name] = [
            (
                path.vertices[:, 1].min() / 2 + path.vertices[:, 1].max() / 2,
                tuple(face),
                float(boxes.get_linewidth()[0]),
            )
            for boxes in axes.collections[before:]
            for path, face in zip(boxes.get_paths(), boxes.get_facecolor(), strict=True)
        ]

    monkeypatch.setattr(piano_roll, '_add', look)
    return found


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_each_part_has_a_colour_and_given_notes_an_edge(tmp_path, drawn):
    draw(tmp_path / 'a.png', [Part('you', [LOUD]), Part('bass', [], [LOUD]), Part('rests')])
    (_, yours, edge), (_, theirs, none) = drawn['you'][0], drawn['bass'][0]
    assert yours[:3] == pytest.approx(rgb(COLOURS[0])) and theirs[:3] == pytest.approx(rgb(COLOURS[1]))
    assert edge > 0 and none == 0 and yours[3] < theirs[3]
    assert 'rests' not in drawn


def test_a_part_that_is_silent_is_named(tmp_path):
    draw(tmp_path / 'roll.svg', [Part('you', [LOUD]), Part('bass')])
    draw(tmp_path / 'alone.svg', [Part('you', [LOUD])])
    # Letters are drawn as shapes, each kept once: more of them are told by a longer legend.
    uses = [(tmp_path / name).read_text().count('<use') for name in ('roll.svg', 'alone.svg')]
    assert uses[0] >= uses[1] + len('silent:bass')


def test_a_loud_note_is_stronger_than_a_soft_one(tmp_path, drawn):
    draw(tmp_path / 'a.png', [Part('new', [], [LOUD, SOFT]), Part('given', [LOUD, SOFT])])
    for name in ('new', 'given'):
        loud, soft = drawn[name]
        assert loud[1][3] > soft[1][3] + 0.1


def test_drums_have_rows_of_their_own(tmp_path, drawn):
    kit = [Note(0, 0.1, key) for key in (36, 38, 42, 99)]
    draw(tmp_path / 'a.png', [Part('tune', [], [LOUD]), Part('drums', [], kit, is_drum=True)])
    assert [round(row, 6) for row, *_ in drawn['drums']] == [0, 1, 2, 5]
    assert drawn['tune'][0][0] == pytest.approx(60)


@pytest.mark.parametrize('parts', [[], [Part('drums', [], [Note(0, 0.1, 36)], True)], [Part('', [LOUD])]])
def test_whatever_there_is_makes_a_picture_and_the_same_one_again(tmp_path, parts):
    for name in ('a.png', 'b.png'):
        draw(tmp_path / name, parts, title='a title', bars=[0.0, 4.0])
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_bar_lines_follow_the_meter():
    from genaudio_core.score.notes import Track

    score = Score([Track(0, notes=[Note(0, 10.0, 60)])], meters=[Meter(0.0, 4, 4), Meter(4.0, 3, 4)])
    assert bar_lines(score) == [0.0, 4.0, 7.0]
