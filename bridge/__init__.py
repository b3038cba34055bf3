"""The live side: a band that plays with you in time, and stems pulled out of a live input. Never imports torch.

A band in your own program, with bytes in and bytes out, on a simulated clock (or, with ``real_time=True``, the
system's)::

    import bridge
    import genaudio_core as ga

    phrase = [ga.Note(beat=i, duration=0.9, note=60 + i, velocity=80) for i in range(8)]
    part = bridge.clock_part(0.5, beats=17, tempo=120) + bridge.note_part(phrase, 0.5, tempo=120)
    with bridge.InProcessBand('duet', {'music.seed': 1}) as band:
        band.play(part, seconds=9)                    # two bars of yours; two of the band follow
        band.score(tempo=120, start=0.5).save('answer.mid')

A band on the ports of the system, as ``genaudio live duet`` runs it::

    with bridge.LiveBand('duet') as band:
        band.set('temperature', 0.8)
        band.run(seconds=60)

* Presets: names of bundled ones, paths of .toml files, or what such a file would hold, as a mapping; `parse_preset`
  checks it, `PARAMETERS` lists every setting.
* Modes, how a band plays with you: `BaseMode` is what yours may be derived from (``InProcessBand(mode=...)``).
* Musicians, who make up the notes: a `Musician` hears `HeardNote` and answers a `Request` with `PlannedMusic`
  (``InProcessBand(musician=...)``).
* Times are seconds on the band's clock or beats (quarter notes), as names say; notes are 0..127, channels 0..15.

What goes wrong is a `genaudio_core.GenaudioError`. Names are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from genaudio_core import lazily

_PUBLIC = {
    'bridge.live.in_process': ('InProcessBand', 'preset_of'),
    'bridge.live.live_band': ('LiveBand',),
    'bridge.midi.messages': ('NoteOff', 'NoteOn', 'control', 'note_off', 'note_on', 'program'),
    'bridge.musicians.musician': ('HeardNote', 'Musician', 'PlannedMusic', 'PlannedNote', 'Request'),
    'bridge.settings.parameters': ('PARAMETERS',),
    'bridge.band.mode': ('Band', 'BaseMode'),
    'bridge.settings.band_preset': ('Preset', 'load_preset', 'parse_preset'),
    'bridge.live.rehearsal': ('clock_part', 'note_part'),
}

__all__ = [
    'PARAMETERS',
    'Band',
    'BaseMode',
    'HeardNote',
    'InProcessBand',
    'LiveBand',
    'Musician',
    'NoteOff',
    'NoteOn',
    'PlannedMusic',
    'PlannedNote',
    'Preset',
    'Request',
    'clock_part',
    'control',
    'load_preset',
    'note_off',
    'note_on',
    'note_part',
    'parse_preset',
    'preset_of',
    'program',
]

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers and editors
    from bridge.band.mode import Band, BaseMode
    from bridge.live.in_process import InProcessBand, preset_of
    from bridge.live.live_band import LiveBand
    from bridge.live.rehearsal import clock_part, note_part
    from bridge.midi.messages import NoteOff, NoteOn, control, note_off, note_on, program
    from bridge.musicians.musician import HeardNote, Musician, PlannedMusic, PlannedNote, Request
    from bridge.settings.band_preset import Preset, load_preset, parse_preset
    from bridge.settings.parameters import PARAMETERS


__getattr__, __dir__ = lazily(__name__, _PUBLIC)
