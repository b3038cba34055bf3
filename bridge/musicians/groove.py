"""The groove that drums keep to: where kick, snare and cymbals belong in a bar, by meter, style and the player's pace.

Whoever drums, model or rules, is told the same groove. Beats are quarter notes from the line.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from genaudio_core.music.grooves import DOTTED, Feel, backbeats, pulses
from genaudio_core.music.layouts import RESOLUTION

KEYS: dict[str, tuple[int, ...]] = {
    'kick': (36,), 'snare': (38, 40, 37), 'clap': (39, 38), 'hat': (42, 44), 'open': (46, 42), 'ride': (51, 53),
    'pedal': (44,),
}  # fmt: skip
"""General MIDI keys that do for a stroke; the first is the plain one."""
QUICK = 132.0  # BPM from which on nobody plays sixteenths on a hi-hat


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke that belongs to the groove."""

    beat: float
    kind: str  # of `KEYS`
    velocity: int = 90

    def keys(self, allowed: Iterable[int] = ()) -> tuple[int, ...]:
        """Keys that do for it, the plainest first; of an instrument with few keys, the nearest it has; or none."""
        own = tuple(allowed)
        if not own:
            return KEYS[self.kind]
        fitting = tuple(key for key in KEYS[self.kind] if key in own)
        if fitting or self.kind == 'kick':
            return fitting
        others = [key for key in own if key not in KEYS['kick']]
        if self.kind not in ('snare', 'clap'):  # a cajon has no cymbals: its light taps keep time
            others.sort(key=lambda key: key == KEYS['snare'][0])
        return tuple(others[:1])


@dataclass(frozen=True, slots=True)
class Pace:
    """How the player plays: what a drummer would take over."""

    onsets: float = 1.0  # onsets to the beat
    feel: Feel = field(default_factory=Feel)
    accents: tuple[float, ...] = ()  # beats of the bar at which bass notes come again and again


@dataclass(frozen=True, slots=True)
class Groove:
    """Strokes of every bar, in order. `binds`: they are played in any case, not only by those who know no better."""

    strokes: tuple[Stroke, ...] = ()
    binds: bool = True
    style: str = 'auto'

    @property
    def backbeats(self) -> tuple[float, ...]:
        """Where the snare belongs."""
        return tuple(stroke.beat for stroke in self.strokes if stroke.kind in ('snare', 'clap'))


def usual_meter(bar: float) -> tuple[int, int]:
    """The commonest meter whose bars are so many quarter notes long."""
    quarters, eighths = round(bar), round(bar * 2)
    return (max(quarters, 1), 4) if abs(bar - quarters) < 1e-6 else (max(eighths, 1), 8)


def groove(
    style: str, meter: tuple[int, int], pace: Pace | None = None, *, density: float = 0.5, tempo: float = 120.0
) -> Groove:  # fmt: skip
    """The groove of a style (one of `settings.parameters.GROOVES`) in a meter.

    Parameters
    ----------
    density : 0 sparse to 1 busy, 0.5 as it comes
    tempo : quarter notes a minute
    """
    pace = pace or Pace()
    beats, bar = [place / RESOLUTION for place in pulses(meter)], meter[0] * 4 / meter[1]
    snares = [place / RESOLUTION for place in backbeats(meter)]
    if style == 'four-on-the-floor':
        kicks = list(beats)
    else:
        if style == 'half-time' and len(beats) >= 4 and len(beats) % 2 == 0:
            snares = [beats[len(beats) // 2]]
        kicks = [0.0, *(beat for beat in beats[2::2] if beat not in snares)]
    strokes = [Stroke(beat, 'kick', 94 if beat else 104) for beat in kicks]
    drum = {'four-on-the-floor': 'clap', 'swing': 'pedal'}.get(style, 'snare')
    strokes += [Stroke(beat, drum, 66 if style == 'swing' or len(beats) == 3 else 98) for beat in snares]
    if style != 'swing':
        taken = [*kicks, *snares]
        for accent in pace.accents:
            if accent < bar and all(abs(accent - beat) >= 0.3 for beat in taken):
                strokes.append(Stroke(accent, 'kick', 84))
                taken.append(accent)
    strokes += _cymbals(style, beats, bar, pace, density, tempo)
    strokes.sort(key=lambda stroke: (stroke.beat, KEYS[stroke.kind][0]))
    return Groove(tuple(strokes), style != 'off', style)


def _cymbals(
    style: str, beats: list[float], bar: float, pace: Pace, density: float, tempo: float
) -> list[Stroke]:  # fmt: skip
    compound = beats[1:2] == [DOTTED / RESOLUTION]
    if style == 'four-on-the-floor':
        return [Stroke(beat + 0.5, 'open', 84) for beat in beats if beat + 0.5 < bar]
    if style == 'swing':
        skips = [beat + 2 / 3 for beat in beats[1::2] if beat + 2 / 3 < bar]
        return [Stroke(beat, 'ride', 84) for beat in beats] + [Stroke(beat, 'ride', 64) for beat in skips]
    if density < 0.25 or (pace.onsets < 0.4 and density < 0.5):
        places = list(beats)
    elif pace.feel.swung and not compound:
        places = sorted({*beats, *(beat + 2 / 3 for beat in beats)})
    else:
        fine = (density > 0.8 or (pace.feel.fine and density >= 0.5)) and tempo < QUICK and not compound
        step = 0.25 if fine else 0.5
        places = [number * step for number in range(round(bar / step))]
    return [Stroke(place, 'hat', 80 if place in beats else 58) for place in places if place < bar - 1e-6]
