"""Settings as plain data: parameters, presets of the band and of stems, tables of pads, effects and
instruments, MIDI controllers. Nothing here plays; a preset that is wrong is found here.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'parameters': ('PARAMETERS', 'Parameter'),
        'band_preset': ('Preset', 'load_preset', 'parse_preset'),
        'stems_preset': ('StemsPreset',),
        'effects_table': ('EffectSpec',),
        'instrument_table': ('Instrument',),
        'pads_table': ('Pad',),
        'mix': ('Mix',),
        'voice': ('PartVoice',),
        'controllers': ('Controllers',),
        'learned_controllers': ('Learned',),
    },
)
