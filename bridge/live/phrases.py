"""Phrases that come with the program, for the demo and the benchmark."""

from genaudio_core.score.notes import Note

TEMPO = 104.0  # quarter notes a minute


def ode(bars: int = 0) -> list[Note]:
    """Two bars of the Ode to Joy (Beethoven, 1824) with a bass, as a pianist would try them: bars 0-1 or 2-3 ..."""
    melodies = (
        ((0, 1, 64), (1, 1, 64), (2, 1, 65), (3, 1, 67), (4, 1, 67), (5, 1, 65), (6, 1, 64), (7, 1, 62)),
        ((0, 1, 60), (1, 1, 60), (2, 1, 62), (3, 1, 64), (4, 1.5, 64), (5.5, 0.5, 62), (6, 1.9, 62)),
    )
    basses = (((0, 4, 48), (4, 4, 43)), ((0, 4, 45), (4, 2, 43), (6, 1.9, 47)))
    notes = [Note(beat, 0.92 * length, note, 84 - 4 * (beat % 2 != 0)) for beat, length, note in melodies[bars % 2]]
    notes += [Note(beat, 0.95 * length, note, 66) for beat, length, note in basses[bars % 2]]
    return sorted(notes)
