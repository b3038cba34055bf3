"""Band music written by rule, without end: what a music model, a separator and a hearing model learn a band from.

`write_piece(seed)` writes one arrangement: a form of sections that return, a progression for each, a groove, a bass
line, comping, a lead made of motives, counter lines and section players, dynamics and human timing. The chord of every
beat is known. All patterns are ours. The same seed always gives the same piece.

``harmony``      progressions in Roman numerals, turned into chords of a key
``meters``       bars, their pulses, and swing
``styles``       what makes rock rock: one table
``drums``        patterns, fills, percussion
``bass`` ``comping`` ``melody``    one part each, from chords and a groove
``performance``  accents, phrase arcs, timing
``writer``       the form, who plays where, the piece
"""

from genaudio_core.training.band_writer.writer import Section, WrittenPiece, write_piece

__all__ = ['Section', 'WrittenPiece', 'write_piece']
