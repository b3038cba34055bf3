"""Reading and checking scripts; the timeline, by property."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.script.reading import read_script
from genaudio_core.script.table import (
    BACKGROUND,
    BEGIN,
    EFFECT,
    END,
    FOREGROUND,
    MUSIC,
    SPEECH,
    Faults,
    Row,
    Script,
    parse_rows,
)
from genaudio_core.script.timetable import timeline

TABLE = """Audio Type,Layout,ID,Character,Volume dB,Action,Content or Description,Duration
Music,Background,theme,,-30,Begin,Dramatic orchestral news theme.,Auto
Speech,Foreground,,News anchor,-15,,"Good evening, and welcome.",Auto
Sound effect,Foreground,,,,,Door slams.,1.5
Music,Background,theme,,,End,,Auto
"""


def written(folder, name, text, encoding='utf-8'):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def faults_of(*rows, **kwargs):
    """The faults of rows given as mappings, one line each."""
    faults = Faults()
    parse_rows([dict(row) for row in rows], faults, **kwargs)
    return faults.lines


def speech(content='Hello.', **more):
    return {'Audio Type': 'Speech', 'Layout': 'Foreground', 'Content': content} | more


def background(name, action, kind='Music', **more):
    return {'Audio Type': kind, 'Layout': 'Background', 'ID': name, 'Action': action, 'Content': 'calm piano'} | more


def test_the_table(tmp_path):
    script = read_script(written(tmp_path, 'news.csv', TABLE))
    theme, anchor, door, end = script.rows
    assert (theme.kind, theme.layout, theme.id, theme.action, theme.volume) == (MUSIC, BACKGROUND, 'theme', BEGIN, -30)
    assert (anchor.kind, anchor.character, anchor.content) == (SPEECH, 'News anchor', 'Good evening, and welcome.')
    assert (door.kind, door.seconds, door.volume) == (EFFECT, 1.5, -24) and end.action == END
    assert script.foreground == [anchor, door] and script.backgrounds == [theme]


@pytest.mark.parametrize(('separator', 'encoding'), [(';', 'utf-8-sig'), ('\t', 'utf-16'), (',', 'utf-8')])
def test_what_spreadsheets_save(tmp_path, separator, encoding):
    row = 'sound effect|foreground|\N{MINUS SIGN}20,5 dB|Été à Łódź|2,5 s'
    lines = ['Audio Type|Layout|Volume dB|Content|Duration', row, '||||']
    text = '\r\n'.join(lines).replace('|', separator)
    if separator == ',':
        text = text.replace('20,5', '20.5').replace('2,5', '2.5')
    (row,) = read_script(written(tmp_path, 'a.csv', text, encoding)).rows
    assert (row.volume, row.seconds, row.content) == (-20.5, 2.5, 'Été à Łódź')


def test_wavjourneys_json(tmp_path):
    rows = [
        {'audio_type': 'music', 'layout': 'background', 'id': 1, 'action': 'begin', 'vol': -35, 'desc': 'Slow jazz'},
        {'audio_type': 'speech', 'layout': 'foreground', 'character': 'Host', 'vol': -15, 'text': 'Welcome.'},
        {'audio_type': 'sound_effect', 'layout': 'foreground', 'vol': -20, 'len': 2, 'desc': 'Applause'},
        {'audio_type': 'music', 'layout': 'background', 'id': 1, 'action': 'end'},
    ]
    script = read_script(written(tmp_path, 'a.json', json.dumps(rows)))
    assert [row.kind for row in script.rows] == [MUSIC, SPEECH, EFFECT, MUSIC]
    assert script.rows[0].id == script.rows[3].id == '1' and script.rows[2].seconds == 2.0


def test_toml_with_voices(tmp_path):
    text = '[voices.Host]\npitch = 40\n[[rows]]\ntype = "speech"\ncharacter = "Host"\ntext = "Hi."\nvolume = -18\n'
    script = read_script(written(tmp_path, 'a.toml', text))
    assert script.voices == {'Host': {'pitch': 40}} and script.rows[0].volume == -18


@pytest.mark.parametrize(
    ('rows', 'told'),
    [
        ([speech(**{'Audio Type': 'Speeech'})], "row 1: unknown Audio Type 'Speeech'. Did you mean 'Speech'?"),
        ([speech(Layout='Middle')], "row 1: unknown Layout 'Middle'."),
        ([speech(Volum='-3')], "row 1: unknown column 'Volum'. Did you mean 'Volume dB'?"),
        ([speech(content=' ')], 'row 1: Content or Description is missing: write what is said.'),
        ([speech(Duration=3)], 'row 1: speech lasts as long as it takes'),
        ([speech(Volume='loud')], "row 1: Volume dB must be a number from -70 to 0 dB, not 'loud'."),
        ([speech(Volume=-300)], 'row 1: Volume dB must be a number from -70 to 0 dB, not -300.'),
        ([speech(Volume=True)], 'row 1: Volume dB must be a number from -70 to 0 dB, not True.'),
        ([speech(Action='Begin')], 'row 1: a foreground row has no Action'),
        ([speech(File='gone.wav')], 'row 1: the file gone.wav does not exist.'),
        ([speech(File='notes.txt')], "row 1: 'notes.txt' is not a sound file"),
        ([speech(**{'Audio Type': 'Sound effect', 'Duration': '-3'})], 'row 1: Duration must be a number over 0'),
        ([speech(**{'Audio Type': 'Sound effect', 'Duration': 0})], 'row 1: Duration must be a number over 0'),
        ([speech(**{'Audio Type': 'Music', 'Duration': float('nan')})], 'row 1: Duration must be a number over 0'),
        ([speech(**{'Audio Type': 'Music', 'Duration': '1e999'})], 'row 1: Duration must be a number over 0'),
        ([speech(**{'Audio Type': ['Music']})], "row 1: 'Audio Type' must be a single value"),
        ([background('a', 'Begin'), speech()], "row 1: 'a' never ends: add a row with Action End and this ID."),
        ([speech(), background('a', 'End')], "row 2: 'a' ends here but never began."),
        (
            [background('rain', 'Begin'), speech(), background('rian', 'End')],
            "row 3: 'rian' ends here but never began. Did you mean 'rain'?",
        ),
        (
            [background('a', 'Begin'), background('a', 'Begin'), speech(), background('a', 'End')],
            "row 2: 'a' begins twice; it began already in row 1.",
        ),
        (
            [background('a', 'Begin'), speech(), background('b', 'Begin'), speech(), background('a', 'End'),
             background('b', 'End')],
            "row 3: this music overlaps the music 'a' of row 1; one at a time: end 'a' first.",
        ),
        (
            [background('a', 'Begin'), speech(**{'Audio Type': 'Music'}), background('a', 'End')],
            "row 2: this music overlaps the music 'a' of row 1",
        ),
        (
            [background('a', 'Begin'), background('a', 'End'), speech()],
            "row 2: 'a' has no length: there is no foreground row between its Begin and End.",
        ),
        (
            [background('a', 'Begin'), speech(), background('a', 'End', 'Sound effect')],
            "row 3: 'a' ends as sound effect, but row 1 began it as music.",
        ),
        ([background('', 'Begin'), speech()], 'row 1: a background row needs an ID, so that its End can be found.'),
        ([background('a', ''), speech()], 'row 1: a background row needs an Action: Begin or End.'),
        ([background('a', 'Start now'), speech()], "row 1: unknown Action 'Start now'."),
        (
            [background('a', 'Begin', Duration=3), speech(), background('a', 'End')],
            'row 1: a background row lasts from Begin to End: its Duration is Auto.',
        ),
        ([background('a', 'Begin', 'Speech'), speech(), background('a', 'End', 'Speech')], 'row 1: speech is always'),
        ([background('a', 'Begin'), background('a', 'End')], 'The script has no foreground row'),
        ([], 'The script is empty: write at least one foreground row.'),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_row(rows, told):
    assert any(line.startswith(told) for line in faults_of(*rows)), faults_of(*rows)


def test_faults_are_told_all_at_once(tmp_path):
    text = 'Audio Type,Layout,ID,Action,Content\nMusik,,,,x\nSpeech,,,,\n'
    text += 'Music,Background,m,Begin,x\n"Speech",,,,"a\nb"\n'
    with pytest.raises(GenaudioError) as caught:
        read_script(written(tmp_path, 'a.csv', text))
    lines = str(caught.value).splitlines()
    assert lines[0] == 'a.csv has 3 faults; nothing was made:'
    assert [line.split(':')[0] for line in lines[1:]] == ['  row 1 (line 2)', '  row 2 (line 3)', '  row 3 (line 4)']


def test_a_broken_row_is_no_fault_of_its_partner():
    """An unknown type on a Begin row: its End is not told as well."""
    assert len(faults_of(background('a', 'Begin', 'Musik'), speech(), background('a', 'End'))) == 1


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('a.txt', b'', "is a .csv, .toml or .json file, not 'a.txt'"), ('a.csv', b'', 'empty'),
        ('a.csv', b'a,b\n1,2\n', 'the first line must name the columns'), ('a.csv', b'Type\n\xff\xe9', 'not UTF-8'),
        ('a.csv', b'Type,Content\nMusic,x,y,z\n', 'more cells than columns'),
        ('a.csv', b'Type\0', 'not a CSV file'), ('a.json', b'{', 'not a JSON file'), ('a.json', b'3', 'a list of'),
        ('a.json', b'[' * 100000, 'not a JSON file'), ('a.json', b'[3]', 'a list of objects'),
        ('a.json', b'{"row": []}', "unknown section 'row'. Did you mean 'rows'?"),
        ('a.toml', b'x =', 'not a TOML file'), ('a.toml', b'rows = 3', r'\[\[rows\]\]'),
        ('a.toml', b'voices = 3\n[[rows]]\ntype="speech"\ntext="a"', r'voices must be a table, not 3: write \[voices'),
        ('a.json', b' ' * (5 << 20), 'too large'),
    ],
)  # fmt: skip
def test_files_that_are_no_script(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GenaudioError, match=told):
        read_script(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(GenaudioError, match='Cannot read'):
        read_script(tmp_path / 'gone.csv')
    (tmp_path / 'dir.csv').mkdir()
    with pytest.raises(GenaudioError, match='is a folder'):
        read_script(tmp_path / 'dir.csv')


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(['type', 'layout', 'id', 'action', 'content', 'duration', 'vol', 'x']),
            st.one_of(
                st.text(max_size=8),
                st.floats(allow_subnormal=False),
                st.integers(),
                st.booleans(),
                st.none(),
                st.sampled_from(['music', 'speech', 'begin', 'end', 'background', 'a']),
            ),
        )
    )
)
def test_whatever_is_written_is_understood_or_told(rows):
    """No input makes it fall over; rows come back only if they are whole."""
    faults = Faults()
    script = parse_rows(rows, faults)
    assert faults or len(script.rows) == len(rows) > 0
    if not faults:
        parts = timeline(script, {row.number: 100 for row in script.foreground})
        assert len(parts) == len(script.foreground) + len(script.backgrounds)


@st.composite
def scripts(draw):
    """Random right scripts: foreground rows with backgrounds that open and close around them, at most one music."""
    rows, open_ids, music = [], {}, None
    for number in range(1, draw(st.integers(1, 30)) + 1):
        kind = draw(st.sampled_from([SPEECH, EFFECT, MUSIC]))
        closable = [name for name, (_, since) in open_ids.items() if since]
        if closable and draw(st.booleans()):
            name = draw(st.sampled_from(closable))
            rows.append(Row(number, open_ids.pop(name)[0], BACKGROUND, 'x', id=name, action=END))
            music = None if music == name else music
        elif kind != SPEECH and (kind != MUSIC or music is None) and draw(st.booleans()):
            name = f'b{number}'
            open_ids[name] = (kind, False)
            music = name if kind == MUSIC else music
            rows.append(Row(number, kind, BACKGROUND, 'x', id=name, action=BEGIN))
        else:
            rows.append(Row(number, EFFECT if kind == MUSIC and music else kind, FOREGROUND, 'x'))
            open_ids = {name: (kind, True) for name, (kind, _) in open_ids.items()}
    if not rows or any(not since for _, since in open_ids.values()) or not any(r.layout == FOREGROUND for r in rows):
        rows.append(Row(len(rows) + 1, SPEECH, FOREGROUND, 'x'))
    for name, (kind, _) in open_ids.items():
        rows.append(Row(len(rows) + 1, kind, BACKGROUND, 'x', id=name, action=END))
    return Script(tuple(rows))


@given(scripts(), st.data())
def test_timeline_loses_nothing_and_is_consistent(script, data):
    lengths = {row.number: data.draw(st.integers(1, 10**6)) for row in script.foreground}
    parts = timeline(script, lengths)
    assert sorted(part.row.number for part in parts) == sorted(
        row.number for row in [*script.foreground, *script.backgrounds]
    )
    foreground = [part for part in parts if part.row.layout == FOREGROUND]
    assert [part.row for part in foreground] == script.foreground
    assert foreground[0].start == 0
    for before, after in itertools.pairwise(foreground):
        assert before.end == after.start and before.n_samples == lengths[before.row.number]
    total = sum(lengths.values())
    starts = {part.start for part in foreground} | {total}
    for part in parts:
        assert 0 <= part.start < part.end <= total
        if part.row.layout == BACKGROUND:  # its borders are borders of the rows around its Begin and End
            assert part.start in starts and part.end in starts
            begin = script.rows.index(part.row)
            end = next(i for i, r in enumerate(script.rows) if r.id == part.row.id and r.action == END)
            under = [row for row in script.rows[begin:end] if row.layout == FOREGROUND]
            assert part.n_samples == sum(lengths[row.number] for row in under)


@pytest.mark.parametrize('kind', ['music', 'sound effect', 'speech'])
@pytest.mark.parametrize('name', ['door.m4a', 'film.MP4', 'song.wma', 'session.als'])
def test_a_recording_of_a_kind_that_is_not_read_is_no_text(kind, name):
    faults = Faults()
    parse_rows([{'type': kind, 'content': name}], faults)
    assert f"'{name}' is not a sound file of a kind that can be read" in faults.lines[0]
    parse_rows([{'type': kind, 'content': f'the end of {name} in words'}], faults := Faults())
    assert not faults


def test_two_columns_for_one_thing_are_told(tmp_path):
    text = 'Audio Type,Type,Content,Duration\nMusic,Sound effect,silence,1\nMusic,,calm,1\n'
    with pytest.raises(
        GenaudioError, match=r"row 1 .*'Audio Type' and 'Type' are two columns for the same thing"
    ) as caught:
        read_script(written(tmp_path, 'a.csv', text))
    assert 'row 2' not in str(caught.value)
    with pytest.raises(GenaudioError, match="two columns are called 'Content'"):
        read_script(written(tmp_path, 'b.csv', 'Type,Content,Content\nMusic,calm,loud\n'))


@pytest.mark.parametrize('text', ['[{"type": "speech", "text": NaN}]', '[{"type": "music", "len": Infinity}]', '[1'])
def test_what_is_no_json_is_told(tmp_path, text):
    with pytest.raises(GenaudioError, match='not a JSON file'):
        read_script(written(tmp_path, 'a.json', text))
