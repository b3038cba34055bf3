"""Automatic instrumentation: which of the parts that are named plays each note, by a learned model and by search."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'part_model': ('PartModel', 'find_parts'),
        'live_parts': ('LiveParts',),
        'assigning': ('Costs', 'Lines', 'assign'),
        'instrumentation': ('instrument',),
        'baselines': ('closest', 'commonest', 'zones'),
    },
)
