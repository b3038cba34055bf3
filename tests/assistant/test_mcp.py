"""An assistant sets up and plays a band, over the SDK's own client on standard input and output."""

import asyncio
import importlib.util
import os
import sys

import pytest
from jack_server import available, server
from live_daemon import FREE

from bridge.cli import main

pytestmark = pytest.mark.skipif(importlib.util.find_spec('mcp') is None, reason='needs the extra mcp')
TOOLS = {
    'list_presets', 'list_settings', 'start', 'join', 'stop', 'state', 'set', 'mode', 'command', 'take', 'again',
    'learn', 'play_preset', 'save_preset', 'panic',
}  # fmt: skip


def talk(home, work):
    """Run `work(ask)` with a server of its own; ``ask(tool, **arguments)`` gives what it returns, or its error."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    async def all_of_it():
        command = StdioServerParameters(
            command=sys.executable, args=['-m', 'bridge.cli', 'mcp', '--folder', str(home)],
            env={**os.environ, 'XDG_CONFIG_HOME': str(home), 'PYTHONPATH': ':'.join(path for path in sys.path if path)},
        )  # fmt: skip
        async with Client(command, read_timeout_seconds=180) as client:

            async def ask(tool, **arguments):
                found = await client.call_tool(tool, arguments)
                text = found.content[0].text if found.content else ''
                return text if found.is_error else found.structured_content

            assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
            return await work(ask)

    return asyncio.run(all_of_it())


async def until(ask, holds):
    for _ in range(600):
        now = await ask('state')
        if holds(now):
            return now
        await asyncio.sleep(0.1)
    raise AssertionError(now)


def test_what_is_wrong_is_one_line(tmp_path):
    async def work(ask):
        for tool, arguments, why in (
            ('state', {}, 'No band plays'), ('panic', {}, 'No band plays'), ('start', {'preset': 'duett'}, "'duet'"),
            ('start', {'preset': '../x.toml'}, 'No preset'), ('join', {'link': 'http://127.0.0.1:9/'}, 'no link'),
            ('join', {'link': 'http://127.0.0.1:9/?token=x'}, 'No session answers'),
            ('start', {'settings': {'densty': 1}}, 'density'),
        ):  # fmt: skip
            said = await ask(tool, **arguments)
            assert why in said and 'Traceback' not in said and said.count('\n') == 0, said
        assert 'duet' in await ask('list_presets')
        settings = await ask('list_settings')
        assert settings['settings']['music.density']['high'] == 1 and 'panic' in settings['commands']

    talk(tmp_path, work)


def test_without_its_package_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mcp', None)
    assert main(['mcp']) == 2
    said = capsys.readouterr().err
    assert "pip install 'genaudio[mcp]'" in said and said.strip().count('\n') == 0


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_an_assistant_sets_up_and_plays_a_band(tmp_path):
    own = tmp_path / 'genaudio' / 'presets'
    own.mkdir(parents=True)
    (own / 'mine.toml').write_text(FREE.replace('"auto"', '"internal"'))

    async def work(ask):
        begun = await ask('start', preset='mine', settings={'tempo': 240}, panel=True)
        assert isinstance(begun, dict), begun
        assert begun['preset'] == 'mine' and begun['parts'] == ['strings', 'bass'], begun
        link = next(line for line in begun['said'] if line.startswith('Panel: ')).removeprefix('Panel: ')
        assert 'already' in await ask('start')
        await ask('command', name='start')
        await until(ask, lambda now: now['rolling'] and now['played'] > 4)
        await ask('set', name='density.bass', value=0.25)
        await ask('set', name='mute.strings', value=True)
        now = await until(ask, lambda now: now['switches']['mute.strings'])
        assert now['part_values'] == {'density.bass': 0.25}
        wrong = await ask('set', name='low.bass', value=127)
        assert any('low.bass' in line for line in wrong['said'])
        assert any('nothing' in line.lower() or 'unknown' in line for line in (await ask('command', name='x'))['said'])
        for _ in range(100):  # now and then it is just being composed
            if any('Composed again: bass' in line for line in (await ask('again', part='bass'))['said']):
                break
        else:
            raise AssertionError(await ask('state'))
        assert any("no part 'bas'" in line for line in (await ask('again', part='bas', bar=3))['said'])
        await ask('mode', name='respond')
        await until(ask, lambda now: now['mode'] == 'respond')
        await ask('save_preset', name='for later')
        assert (own / 'for later.toml').is_file()

        async def guest(other):
            joined = await other('join', link=link)
            assert isinstance(joined, dict) and joined['preset'] == 'mine', joined
            await other('set', name='temperature', value=0.5)
            await until(other, lambda now: now['values']['music.temperature'] == 0.5)
            assert (await other('stop'))['result'] == 'stopped'

        await asyncio.to_thread(talk, tmp_path, guest)
        await ask('play_preset', name='duet')
        await until(ask, lambda now: now['preset'] == 'duet')
        await ask('panic')
        await until(ask, lambda now: now['sounding'] == 0)
        await ask('stop')
        assert 'No band plays' in await ask('state')

    with server(256):
        talk(tmp_path, work)
