"""A picture of Ardour with both plug-ins on its tracks, from a real session under Xvfb: python docs/ardour.py

Needs Ardour 7, Xvfb, xdotool, and what `genaudio plugin install` needs; none of what is on this machine is touched.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from panel import DOCS, shrink

NAME = 'ardour.png'
WIDTH, HEIGHT = 1350, 960
# Where Ardour 7 draws the first plug-in of each track, and where the window of it then goes.
STRIPS = {'genaudio band': ((56, 187), (300, 511)), 'genaudio stems': ((198, 207), (300, 96))}
SESSION = """
local dir, name = arg[1], arg[2]
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = create_session (dir, name, 48000)
local midi = ARDOUR.ChanCount (ARDOUR.DataType ("midi"), 1)
local none, last, mode = ARDOUR.PluginInfo (), ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal
s:new_midi_track (midi, midi, false, none, nil, nil, 1, "Keys", last, mode, false, false)
s:new_audio_track (2, 2, nil, 1, "Song", last, mode, false)
sleep (0.5)
local synth = "https://community.ardour.org/node/7596"
local plugins = { Keys = { synth, "urn:genaudio:band" }, Song = { "urn:genaudio:stems" } }
for t in s:get_tracks ():iter () do
  for _, which in ipairs (plugins[t:name ()]) do
    local p = ARDOUR.LuaAPI.new_plugin (s, which, ARDOUR.PluginType.LV2, "")
    assert (not p:isnil (), which)
    assert (t:add_processor_by_index (p, 0, nil, true) == 0, which)
  end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
"""
# No sound card, no question at the start, and the mixer in front.
SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config>
    <Option name="try-autostart-engine" value="1"/>
    <Option name="hide-dummy-backend" value="0"/>
  </Config>
  <Extra><AudioMIDISetup><EngineStates>
    <State backend="None (Dummy)" driver="Normal Speed" device="Silence" input-device="" output-device=""
           sample-rate="48000" buffer-size="1024" n-periods="0" input-latency="0" output-latency="0" lm-input=""
           lm-output="" active="1" use-buffered-io="0" midi-option="1 in, 1 out, Silence" lru="1"/>
  </EngineStates></AudioMIDISetup></Extra>
</Ardour>
"""
WINDOWS = f"""<?xml version="1.0" encoding="UTF-8"?>
<instant>
  <Main x="0" y="0" w="{WIDTH}" h="{HEIGHT}" current-tab="mixer"/>
  <Mixer show-mixer-list="0"><Window name="Mixer" visible="0" tabbed="1"/></Mixer>
</instant>
"""


@contextlib.contextmanager
def running(*command: str | Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    with open(log, 'w') as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def await_(found: Callable[[], str], what: str, seconds: float = 600) -> str:
    """What `found` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > end:
            raise SystemExit(f'{what} does not come')
        time.sleep(1)
    return result


def main(folder: Path) -> None:
    environment = os.environ | {
        'HOME': str(folder), 'XDG_RUNTIME_DIR': str(folder), 'XDG_DATA_HOME': str(folder / '.local' / 'share'),
        'XDG_CONFIG_HOME': str(folder / '.config'), 'LV2_PATH': f'{folder}/.lv2:/usr/lib/lv2',
        'GENAUDIO_PLUGIN_CACHE': str(Path('~/.cache/genaudio/plugins').expanduser()), 'ARDOUR_FPU_FLAGS': '0',
    }  # fmt: skip
    genaudio = [sys.executable, '-m', 'bridge.cli']
    subprocess.run([*genaudio, 'plugin', 'install'], env=environment, check=True, stdout=subprocess.DEVNULL)
    (folder / 'session.lua').write_text(SESSION)
    session = folder / 'song' / 'song.ardour'
    made = ['ardour7-lua', folder / 'session.lua', session.parent, 'song']
    subprocess.run(made, env=environment, check=True, capture_output=True)
    # Ardour asks whether a session of another sound card is meant.
    session.write_text(re.sub(r'<EngineHints[^>]*/>', '', session.read_text()))
    (session.parent / 'instant.xml').write_text(WINDOWS)
    settings = folder / '.config' / 'ardour7'
    settings.mkdir(parents=True, exist_ok=True)
    (settings / 'config').write_text(SETTINGS)
    (settings / '.a7').touch()  # it was there before: no greeting
    with contextlib.ExitStack() as stack:
        log = folder / 'xvfb.log'
        screen = ['Xvfb', '-displayfd', '1', '-screen', '0', f'{WIDTH}x{HEIGHT}x24', '-nolisten', 'tcp']
        stack.enter_context(running(*screen, environment=environment, log=log))
        environment['DISPLAY'] = ':' + await_(lambda: ''.join(re.findall(r'^(\d+)\n', log.read_text())), 'Xvfb', 60)

        def xdotool(*words: object) -> str:
            done = subprocess.run(['xdotool', *map(str, words)], env=environment, capture_output=True, text=True)
            return done.stdout.strip()

        def window(name: str) -> str:
            return xdotool('search', '--onlyvisible', '--name', name).partition('\n')[0]

        engine = folder / 'engine.log'
        stack.enter_context(running(*genaudio, 'serve', environment=environment, log=engine))
        await_(lambda: engine.read_text(), 'the engine', 120)
        stack.enter_context(running('ardour', '-n', session, environment=environment, log=folder / 'ardour.log'))
        xdotool('windowsize', await_(lambda: window('song'), 'the window of Ardour'), WIDTH, HEIGHT)
        time.sleep(5)
        for name, (strip, place) in STRIPS.items():

            def opened(name: str = name, strip: tuple[int, int] = strip) -> str:
                xdotool('mousemove', *strip, 'click', '--repeat', 2, '--delay', 100, 1)
                time.sleep(5)
                return window(name)

            xdotool('windowmove', await_(opened, f'the window of {name}'), *place)
        xdotool('mousemove', 0, HEIGHT - 1)
        time.sleep(10)  # the engine's lamps
        from PIL import ImageGrab

        ImageGrab.grab(xdisplay=environment['DISPLAY']).save(DOCS / NAME)
    shrink(DOCS / NAME)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(prefix='genaudio-ardour-', ignore_cleanup_errors=True) as made_here:
        main(Path(made_here))
