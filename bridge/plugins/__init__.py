"""Plug-ins of others (VST3, AU), SoundFonts and built-in effects: loaded, set and run in processes of their own."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'effects': ('Chain',),
        'effects_host': ('PluginHost',),
        'font_instrument': ('FontInstrument',),
        'instrument': ('InstrumentProcess', 'JackInstrument'),
        'loading': ('load_link',),
    },
)
