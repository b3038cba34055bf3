"""'A slow jazz trio in D minor, no drums' -> instruments, tempo, key, meter, mood. A table, not a model.

Every word that is understood is told, and every word of weight that is not: a person sees why the music is as it is,
and which words to change. Later words win over earlier ones where they disagree.
"""

import re
from dataclasses import dataclass

from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.music.keys import SCALES, pitch_classes
from genaudio_core.score.instruments import DRUMS, find_instrument

DEFAULT_TEMPO = 100.0
DEFAULT_INSTRUMENTS = ('piano', 'strings', 'bass')

_ENSEMBLES: dict[str, tuple[str, ...]] = {
    'jazz trio': ('piano', 'bass', DRUMS), 'jazz quartet': ('tenor-saxophone', 'piano', 'bass', DRUMS),
    'jazz': ('piano', 'bass', DRUMS), 'big band': ('trumpet', 'trombone', 'alto-saxophone', 'piano', 'bass', DRUMS),
    'string quartet': ('violin', 'viola', 'cello'), 'string trio': ('violin', 'viola', 'cello'),
    'piano trio': ('piano', 'violin', 'cello'), 'wind quintet': ('flute', 'oboe', 'clarinet', 'bassoon', 'horn'),
    'brass quintet': ('trumpet', 'horn', 'trombone', 'tuba'),
    'brass band': ('trumpet', 'horn', 'trombone', 'tuba', DRUMS),
    'rock band': ('electric-guitar', 'electric-bass', DRUMS), 'rock': ('electric-guitar', 'electric-bass', DRUMS),
    'metal': ('electric-guitar', 'electric-bass', DRUMS), 'punk': ('electric-guitar', 'electric-bass', DRUMS),
    'pop': ('piano', 'electric-guitar', 'electric-bass', DRUMS),
    'funk': ('electric-guitar', 'slap-bass', 'organ', DRUMS),
    'blues': ('electric-guitar', 'piano', 'electric-bass', DRUMS), 'country': ('steel-string-guitar', 'banjo', 'bass'),
    'folk': ('steel-string-guitar', 'accordion', 'violin'), 'celtic': ('flute', 'violin', 'harp'),
    'orchestral': ('strings', 'horn', 'flute', 'timpani'), 'orchestra': ('strings', 'horn', 'flute', 'timpani'),
    'symphonic': ('strings', 'horn', 'flute', 'timpani'), 'symphony': ('strings', 'horn', 'flute', 'timpani'),
    'chamber': ('violin', 'viola', 'cello', 'piano'), 'baroque': ('harpsichord', 'violin', 'cello'),
    'classical': ('piano', 'violin', 'cello'), 'cinematic': ('strings', 'horn', 'piano', 'timpani'),
    'electronic': ('lead', 'pad', 'synth-bass', DRUMS), 'techno': ('lead', 'synth-bass', DRUMS),
    'house': ('electric-piano', 'synth-bass', DRUMS), 'dance': ('lead', 'pad', 'synth-bass', DRUMS),
    'ambient': ('pad', 'synth-strings', 'piano'), 'lo fi': ('electric-piano', 'bass', DRUMS),
    'synthwave': ('lead', 'pad', 'synth-bass', DRUMS), 'tango': ('bandoneon', 'violin', 'piano', 'contrabass'),
    'bossa nova': ('nylon-string-guitar', 'piano', 'bass', DRUMS),
    'latin': ('nylon-string-guitar', 'trumpet', 'bass', DRUMS),
    'reggae': ('electric-guitar', 'organ', 'electric-bass', DRUMS), 'gospel': ('piano', 'organ', 'voices', DRUMS),
    'choral': ('voices', 'church-organ'),
    'church': ('church-organ', 'voices'), 'medieval': ('recorder', 'harp', 'dulcimer'),
    'lullaby': ('music-box', 'celesta'),
    'news': ('brasses', 'strings', 'timpani'), 'fanfare': ('trumpet', 'horn', 'timpani'),
    'march': ('piccolo', 'trumpet', 'trombone', 'tuba', DRUMS), 'chiptune': ('lead', 'synth-bass', 'synth-drums'),
}  # fmt: skip
_TEMPOS: dict[str, float] = {
    'largo': 50, 'adagio': 66, 'andante': 84, 'moderato': 108, 'allegretto': 116, 'allegro': 132, 'vivace': 160,
    'presto': 180, 'slow': 66, 'slowly': 66, 'very slow': 52, 'medium': 104, 'mid tempo': 104, 'fast': 144,
    'very fast': 172, 'quick': 144, 'lively': 132, 'upbeat': 126, 'energetic': 138, 'driving': 136, 'relaxed': 80,
    'calm': 72, 'peaceful': 70, 'quiet': 76, 'gentle': 76, 'dreamy': 72, 'sad': 70, 'melancholic': 72, 'ballad': 68,
    'solemn': 60, 'dramatic': 112, 'tense': 120, 'suspenseful': 96, 'epic': 120, 'heroic': 124, 'triumphant': 124,
    'happy': 124, 'cheerful': 128, 'playful': 124, 'urgent': 150, 'chase': 160, 'lullaby': 66, 'march': 116,
    'waltz': 138, 'techno': 130, 'house': 124, 'dance': 126, 'ambient': 64, 'punk': 176, 'metal': 150, 'jazz': 120,
    'funk': 104, 'news': 120, 'bossa nova': 128, 'tango': 118, 'reggae': 76, 'lo fi': 78, 'synthwave': 104,
}  # fmt: skip
_MODES: dict[str, str] = {
    'minor': 'minor', 'major': 'major', 'sad': 'minor', 'melancholic': 'minor', 'dark': 'minor', 'gloomy': 'minor',
    'mysterious': 'harmonic minor', 'dramatic': 'minor', 'tense': 'harmonic minor', 'suspenseful': 'harmonic minor',
    'scary': 'harmonic minor', 'eerie': 'harmonic minor', 'tragic': 'minor', 'lonely': 'minor', 'happy': 'major',
    'cheerful': 'major', 'bright': 'major', 'joyful': 'major', 'playful': 'major', 'triumphant': 'major',
    'heroic': 'major', 'hopeful': 'major', 'peaceful': 'major', 'calm': 'major', 'warm': 'major', 'blues': 'blues',
    'epic': 'minor', 'tango': 'harmonic minor', 'dreamy': 'lydian', 'pentatonic': 'pentatonic', 'dorian': 'dorian',
    'medieval': 'dorian', 'celtic': 'mixolydian', 'mixolydian': 'mixolydian', 'phrygian': 'phrygian',
    'lydian': 'lydian',
}  # fmt: skip
_DENSITIES: dict[str, float] = {
    'sparse': -1.0, 'simple': -0.6, 'minimal': -1.0, 'calm': -0.7, 'peaceful': -0.7, 'quiet': -0.6, 'gentle': -0.5,
    'ambient': -1.0, 'slow': -0.3, 'sad': -0.4, 'solemn': -0.5, 'busy': 1.0, 'dense': 1.0, 'rich': 0.6, 'full': 0.5,
    'energetic': 0.6, 'dramatic': 0.4, 'epic': 0.5, 'intense': 0.8, 'urgent': 0.6, 'chase': 0.8, 'lullaby': -0.7,
}  # fmt: skip
_LOUDNESS: dict[str, float] = {
    'soft': 0.7, 'softly': 0.7, 'quiet': 0.65, 'gentle': 0.7, 'calm': 0.75, 'peaceful': 0.75, 'delicate': 0.65,
    'loud': 1.3, 'powerful': 1.3, 'dramatic': 1.2, 'epic': 1.25, 'heroic': 1.2, 'intense': 1.25, 'triumphant': 1.25,
    'lullaby': 0.65,
}  # fmt: skip
_TEMPERATURES: dict[str, float] = {
    'simple': 0.85, 'minimal': 0.85, 'steady': 0.85, 'repetitive': 0.8, 'wild': 1.15, 'experimental': 1.2,
    'free': 1.15, 'chaotic': 1.25,
}  # fmt: skip
_METERS: dict[str, tuple[int, int]] = {'waltz': (3, 4), 'march': (4, 4), 'jig': (6, 8)}
_FILLER = frozenset(
    ('a', 'an', 'the', 'of', 'in', 'on', 'at', 'with', 'and', 'or', 'by', 'for', 'to', 'some', 'music', 'song',
     'tune', 'theme', 'piece', 'track', 'melody', 'background', 'foreground', 'sound', 'played', 'playing',
     'plays', 'featuring', 'feel', 'mood', 'style', 'key', 'tempo', 'beat', 'beats', 'rhythm', 'tones', 'bpm',
     'as', 'that', 'very', 'into', 'from', 'then', 'while', 'its', 'is', 'solo', 'duo', 'trio', 'quartet',
     'ensemble', 'band')
)  # fmt: skip
_STYLES = ('blues', 'pentatonic', 'chromatic', 'whole tone')
_NOT = ('no', 'without', 'not', 'minus')
_KEY = re.compile(
    r'\b([a-g](?:[#♯♭]|b|\s?flat|\s?sharp)?)\s+(' + '|'.join(sorted(SCALES, key=len, reverse=True)) + r')\b'
)
_BPM = re.compile(r'\b(\d{2,3})\s*(?:bpm|beats per minute)\b')
_METER = re.compile(r'\b(\d{1,2})/(\d{1,2})\b')


@dataclass(frozen=True)
class MusicPlan:
    """The request to the music model that a description makes."""

    instruments: tuple[str, ...] = DEFAULT_INSTRUMENTS
    tempo: float = DEFAULT_TEMPO  # quarter notes a minute
    key: str = ''  # 'D minor'; empty: any
    meter: tuple[int, int] = (4, 4)
    density: float = 0.0  # -2..2
    loudness: float = 1.0  # factor on velocities
    temperature: float = 0.95
    heard: tuple[str, ...] = ()  # words that were understood
    missed: tuple[str, ...] = ()  # words that were not

    def controls(self) -> Controls:
        """As the sampler takes them."""
        return Controls(
            # A bed that falls silent for a bar sounds like a fault; the model's own rests may be as long.
            max_rest=2.0 if self.density < 0 else 1.0, temperature=self.temperature, density=self.density,
            velocity_scale=self.loudness,
            instruments=self.instruments, pitch_classes=pitch_classes(self.key) if self.key else None,
        )  # fmt: skip

    def describe(self) -> str:
        """One line for a person: what was understood as what."""
        parts = [f'{self.tempo:g} BPM', f'{self.meter[0]}/{self.meter[1]}', self.key or 'any key']
        if self.density:
            parts.append('sparse' if self.density < 0 else 'dense')
        if self.loudness != 1:
            parts.append('soft' if self.loudness < 1 else 'loud')
        text = f'understood {", ".join(self.heard) or "nothing"}: {", ".join(parts)}'
        return text + (f'; not understood: {", ".join(self.missed)}' if self.missed else '')


def understand(text: str) -> MusicPlan:
    """Read a description.

    Raises
    ------
    GenaudioError
        If a meter or tempo is impossible, or everything that plays is excluded.
    """
    plain = ' '.join(re.sub(r'[^\w#♯♭/ ]', ' ', text.lower().replace('-', ' ').replace('_', ' ')).split())
    heard: list[str] = []
    key, tempo, meter = '', 0.0, (0, 0)
    found = _KEY.search(plain)
    if found and not (found[1] == 'a' and found[2] in _STYLES):  # 'a blues' is no key
        tonic = found[1].replace('sharp', '#').replace('flat', 'b').replace(' ', '')
        key = f'{tonic[0].upper()}{tonic[1:]} {found[2]}'
        plain = plain.replace(found[0], ' ', 1)
        heard.append(key)
    if found := _BPM.search(plain):
        tempo = float(found[1])
        if not 20 <= tempo <= 400:
            raise GenaudioError(f'{tempo:g} BPM is out of range: write 20 to 400.')
        plain = plain.replace(found[0], ' ', 1)
        heard.append(f'{tempo:g} BPM')
    if found := _METER.search(plain):
        from genaudio_core.continuation.generation import meter_of

        meter = meter_of(found[0])
        plain = plain.replace(found[0], ' ', 1)
        heard.append(found[0])
    words = plain.replace('/', ' ').split()
    players: list[str] = []
    ensemble: tuple[str, ...] = ()
    excluded: set[str] = set()
    values: dict[str, list] = {'tempo': [], 'mode': [], 'density': [], 'loudness': [], 'temperature': [], 'meter': []}
    tables = {
        'tempo': _TEMPOS, 'mode': _MODES, 'density': _DENSITIES, 'loudness': _LOUDNESS, 'temperature': _TEMPERATURES,
        'meter': _METERS,
    }  # fmt: skip
    missed: list[str] = []
    at, negated = 0, False
    while at < len(words):
        if words[at] in _NOT:
            negated, at = True, at + 1
            continue
        for length in (3, 2, 1):  # the longest phrase that means something
            phrase = ' '.join(words[at : at + length])
            if at + length > len(words):
                continue
            instrument = _instrument(phrase)
            settings = [name for name, table in tables.items() if phrase in table]
            if instrument is None and phrase not in _ENSEMBLES and not settings:
                continue
            heard.append(f'no {phrase}' if negated else phrase)
            if negated:
                excluded |= {instrument} if instrument else set(_ENSEMBLES.get(phrase, ()))
            else:
                if phrase in _ENSEMBLES:  # before instruments: an 'orchestra' is more than its strings
                    ensemble = ensemble or _ENSEMBLES[phrase]
                elif instrument:
                    players.append(instrument)
                for name in settings:
                    values[name].append(tables[name][phrase])
            at += length
            break
        else:
            if words[at] not in _FILLER and not words[at].isdigit():
                missed.append(words[at])
            at += 1
        negated = negated and at < len(words) and words[at] in ('and', 'or')
        if negated:
            at += 1
    chosen = list(dict.fromkeys([*players, *(() if players and not ensemble else ensemble)])) or list(
        DEFAULT_INSTRUMENTS
    )
    chosen = [name for name in chosen if name not in excluded]
    if not chosen:
        raise GenaudioError(f"'{text}' leaves nobody to play.")
    mode = values['mode'][-1] if values['mode'] else ''
    if mode and not key:
        key = f'{"C" if mode in ("major", "lydian", "mixolydian", "pentatonic") else "A"} {mode}'
    return MusicPlan(
        instruments=tuple(chosen[:8]),
        tempo=tempo or (float(values['tempo'][-1]) if values['tempo'] else DEFAULT_TEMPO),
        key=key,
        meter=meter if meter[0] else (values['meter'][-1] if values['meter'] else (4, 4)),
        density=max(-2.0, min(2.0, float(sum(values['density'])))),
        loudness=values['loudness'][-1] if values['loudness'] else 1.0,
        temperature=values['temperature'][-1] if values['temperature'] else MusicPlan.temperature,
        heard=tuple(heard), missed=tuple(missed),
    )  # fmt: skip


def _instrument(phrase: str) -> str | None:
    if phrase.isdigit() or phrase in _ENSEMBLES:
        return None
    try:
        return find_instrument(phrase)
    except GenaudioError:
        return None
