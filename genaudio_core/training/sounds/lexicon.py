# ruff: noqa: E501 (a table reads better a row a line)
"""The sounds we have words for: concepts, their other names, and the General MIDI programs that sound like them.

A concept is a plain name ('french horn'). Its synonyms are words a musician would type; the text encoder learns
to send all of them, and their typos, to the same place. ``RELATED`` groups are not told apart in evaluation pairs:
asking for 'strings' in a mix of violin and cello has no single answer.
"""

from typing import NamedTuple


class Concept(NamedTuple):
    name: str
    family: str
    programs: tuple[int, ...]  # General MIDI, 0..127; (-1,) is the drum kit; () has no General MIDI sound
    low: int  # lowest sensible note
    high: int  # highest sensible note
    synonyms: tuple[str, ...]


def _concept(name: str, family: str, programs: tuple[int, ...], low: int, high: int, synonyms: str) -> Concept:
    return Concept(name, family, programs, low, high, tuple(s.strip() for s in synonyms.split(',') if s.strip()))


_c = _concept
CONCEPTS: tuple[Concept, ...] = (
    _c('piano', 'keys', (0, 1, 3), 28, 100, 'grand piano, upright piano, acoustic piano, pianoforte, keys, keyboard, honky tonk piano, klavier, concert grand, piano chords, solo piano'),
    _c('electric piano', 'keys', (4, 5), 36, 96, 'rhodes, wurlitzer, fender rhodes, e-piano, epiano, wurli, fm piano, dx7 piano, suitcase piano, electric keys'),
    _c('harpsichord', 'keys', (6,), 36, 88, 'cembalo, clavecin, spinet, virginal, baroque keyboard'),
    _c('clavinet', 'keys', (7,), 36, 88, 'clav, funky clav, clavi'),
    _c('celesta', 'mallets', (8,), 60, 100, 'celeste'),
    _c('glockenspiel', 'mallets', (9,), 65, 100, 'glock, orchestra bells, metal bars'),
    _c('music box', 'mallets', (10,), 60, 96, 'musical box, toy music box'),
    _c('vibraphone', 'mallets', (11,), 53, 89, 'vibes, vibraharp, vibe'),
    _c('marimba', 'mallets', (12,), 45, 90, 'wooden mallets, balafon'),
    _c('xylophone', 'mallets', (13,), 60, 96, 'xylo, wooden bars'),
    _c('tubular bells', 'mallets', (14,), 60, 79, 'chimes, church bells, bells, orchestral chimes'),
    _c('dulcimer', 'plucked', (15,), 50, 90, 'hammered dulcimer, santur, cimbalom'),
    _c('organ', 'organ', (16, 17, 18), 36, 90, 'hammond, hammond organ, electric organ, rock organ, drawbar organ, jazz organ, b3'),
    _c('church organ', 'organ', (19, 20), 36, 90, 'pipe organ, cathedral organ, reed organ, harmonium'),
    _c('accordion', 'organ', (21, 23), 48, 90, 'squeezebox, bandoneon, concertina, musette, piano accordion'),
    _c('harmonica', 'organ', (22,), 60, 90, 'mouth organ, blues harp, mouth harp'),
    _c('acoustic guitar', 'guitar', (24, 25), 40, 84, 'guitar, nylon guitar, classical guitar, spanish guitar, steel string guitar, folk guitar, strumming, strummed guitar, fingerpicking, western guitar, flamenco guitar, gitarre'),
    _c('electric guitar', 'guitar', (26, 27, 28), 40, 86, 'clean guitar, jazz guitar, clean electric guitar, e-guitar, stratocaster, telecaster, muted guitar, palm mute'),
    _c('distorted guitar', 'guitar', (29, 30), 40, 84, 'distortion guitar, overdriven guitar, overdrive guitar, rock guitar, metal guitar, heavy guitar, power chords, guitar riff, guitar solo, crunch guitar'),
    _c('double bass', 'bass', (32, 43), 28, 62, 'upright bass, acoustic bass, contrabass, string bass, bass fiddle, stand-up bass, walking bass, jazz bass, kontrabass'),
    _c('electric bass', 'bass', (33, 34, 35), 26, 62, 'bass guitar, bass, fingered bass, picked bass, fretless bass, e-bass, bassline, bass line, electric bass guitar, low end'),
    _c('slap bass', 'bass', (36, 37), 26, 62, 'slapped bass, funk bass, slap and pop'),
    _c('synth bass', 'bass', (38, 39), 26, 64, 'synthesizer bass, acid bass, moog bass, sub bass, 808 bass, reese bass, bass synth'),
    _c('violin', 'strings', (40, 110), 55, 98, 'fiddle, solo violin, violine, violins, folk fiddle, violinist'),
    _c('viola', 'strings', (41,), 48, 88, 'bratsche, solo viola, violas'),
    _c('cello', 'strings', (42,), 36, 78, 'violoncello, celli, cellos, solo cello, cellist'),
    _c('strings', 'strings', (48, 49, 44), 36, 92, 'string section, string ensemble, orchestra strings, string orchestra, violins and cellos, string quartet, orchestra, tremolo strings, bowed strings, strings section'),
    _c('pizzicato strings', 'plucked', (45,), 40, 88, 'pizzicato, pizz, plucked strings'),
    _c('synth strings', 'synth', (50, 51), 36, 90, 'string machine, solina, synthesizer strings'),
    _c('harp', 'plucked', (46,), 30, 96, 'concert harp, celtic harp, harpist, lyre'),
    _c('timpani', 'drums', (47,), 36, 58, 'kettledrums, kettle drum, timps, orchestral drums'),
    _c('choir', 'voice', (52, 53, 54), 43, 84, 'chorus, choral, singers, voices, aahs, oohs, backing vocals, backing singers, gospel choir, synth voice, vocal ensemble'),
    _c('vocals', 'voice', (), 40, 84, 'vox, voice, singing, singer, singing voice, vocal, lead vocals, lead vocal, human voice, a cappella, acapella, sung melody, female vocals, male vocals, female singing voice, male singing voice, song voice, crooning'),
    _c('speech', 'voice', (), 40, 84, 'talking, spoken word, speaking, speaker, narration, person talking, woman speaking, man speaking, conversation, dialogue, spoken voice, announcer, podcast, reading aloud'),
    _c('trumpet', 'brass', (56,), 54, 86, 'trumpets, bugle, cornet, flugelhorn, jazz trumpet, tpt'),
    _c('muted trumpet', 'brass', (59,), 54, 84, 'harmon mute, trumpet with mute'),
    _c('trombone', 'brass', (57,), 36, 74, 'trombones, slide trombone, sackbut, posaune'),
    _c('tuba', 'brass', (58,), 26, 62, 'sousaphone, euphonium, bass tuba'),
    _c('french horn', 'brass', (60,), 38, 78, 'horn, horns, hunting horn, waldhorn'),
    _c('brass section', 'brass', (61,), 40, 84, 'brass, horn section, brasses, brass ensemble, big band, brass band, wind band, orchestra brass'),
    _c('synth brass', 'synth', (62, 63), 40, 84, 'synthesizer brass, eighties brass'),
    _c('saxophone', 'reeds', (64, 65, 66, 67), 40, 86, 'sax, alto sax, tenor sax, soprano sax, baritone sax, alto saxophone, tenor saxophone, soprano saxophone, baritone saxophone, bari sax, saxophon, sax solo, jazz sax'),
    _c('oboe', 'reeds', (68, 69), 55, 88, 'english horn, cor anglais, oboes, double reed, hautbois'),
    _c('bassoon', 'reeds', (70,), 34, 74, 'fagott, contrabassoon, fagotto'),
    _c('clarinet', 'reeds', (71,), 50, 92, 'clarinets, klarinette, bass clarinet, licorice stick'),
    _c('flute', 'pipes', (73, 72), 60, 100, 'piccolo, transverse flute, flutes, querflöte, alto flute, flautist'),
    _c('recorder', 'pipes', (74,), 60, 96, 'blockflöte, tin whistle, penny whistle, fipple flute'),
    _c('pan flute', 'pipes', (75,), 60, 92, 'pan pipes, panpipes, zampona, syrinx'),
    _c('shakuhachi', 'pipes', (77,), 55, 86, 'japanese flute, bamboo flute'),
    _c('whistle', 'pipes', (78, 79), 62, 96, 'whistling, ocarina, human whistle'),
    _c('synth lead', 'synth', (80, 81, 84, 87), 48, 92, 'lead synth, synth, synthesizer, square lead, sawtooth, saw lead, chiptune, 8-bit synth, analog synth, moog, arpeggio synth'),
    _c('synth pad', 'synth', (88, 89, 90, 91, 92, 94, 95), 40, 84, 'pad, pads, ambient pad, warm pad, atmosphere, synth keys, synth chords, soundscape'),
    _c('sitar', 'plucked', (104,), 44, 82, 'indian sitar, raga, veena'),
    _c('banjo', 'plucked', (105,), 48, 84, 'bluegrass banjo, five-string banjo, ukulele, mandolin'),
    _c('koto', 'plucked', (106, 107), 45, 86, 'shamisen, guzheng, zither, japanese harp'),
    _c('kalimba', 'mallets', (108,), 52, 84, 'thumb piano, mbira, sansula'),
    _c('bagpipes', 'reeds', (109,), 57, 80, 'bagpipe, pipes and drones, highland pipes, scottish pipes, uilleann pipes'),
    _c('shehnai', 'reeds', (111,), 58, 84, 'shawm, zurna'),
    _c('steel drums', 'mallets', (114,), 52, 88, 'steel pan, steelpan, steel drum, caribbean drums'),
    _c('taiko', 'drums', (116, 117), 40, 70, 'taiko drum, tom, toms, floor tom, tribal drums, war drums'),
    _c('drums', 'drums', (-1,), 27, 87, 'drum kit, drum set, drumkit, drum loop, beat, percussion, drumming, drummer, breakbeat, groove, rhythm section drums, trap kit, acoustic drums, drum machine, schlagzeug, drum, beats'),
    _c('kick drum', 'drums', (), 35, 36, 'bass drum, kick, bd, bassdrum'),
    _c('snare drum', 'drums', (), 38, 40, 'snare, side drum, rimshot'),
    _c('cymbals', 'drums', (), 49, 59, 'crash cymbal, ride cymbal, cymbal, crash, ride, gong'),
    _c('hi-hat', 'drums', (), 42, 46, 'hihat, hi hat, hats, closed hi-hat, open hi-hat'),
    _c('hand percussion', 'drums', (), 60, 80, 'conga, congas, bongos, bongo, djembe, tabla, shaker, tambourine, maracas, hand drum, cowbell, woodblock, castanets, claves, cajon, claps, handclaps, egg shaker'),
    _c('rain', 'sounds', (), 0, 0, 'raining, heavy rain, rainfall, rain falling, drizzle, rainstorm'),
    _c('sea waves', 'sounds', (), 0, 0, 'ocean, waves, surf, sea, beach, ocean waves, water waves'),
    _c('fire', 'sounds', (), 0, 0, 'fire crackling, campfire, crackling, burning, bonfire, fireplace'),
    _c('helicopter', 'sounds', (), 0, 0, 'chopper, rotor blades, aircraft, helicopter rotor'),
    _c('chainsaw', 'sounds', (), 0, 0, 'chain saw, power saw, sawing machine, motor saw'),
    _c('dog bark', 'sounds', (), 0, 0, 'dog, barking, dog barking, hound, woof, puppy'),
    _c('rooster', 'sounds', (), 0, 0, 'cock crowing, cockerel, cock-a-doodle-doo, chicken, crowing rooster'),
    _c('baby cry', 'sounds', (), 0, 0, 'baby, crying baby, infant crying, crying, wailing baby'),
    _c('clock tick', 'sounds', (), 0, 0, 'clock, ticking, tick tock, clock ticking, alarm clock, watch'),
    _c('sneeze', 'sounds', (), 0, 0, 'person sneeze, sneezing, achoo'),
    _c('train', 'sounds', (), 0, 0, 'subway train, railway, underground train, locomotive, train passing'),
    _c('water', 'sounds', (), 0, 0, 'stream, river, running water, splash, water splash, pouring water, bubbles, waterfall'),
    _c('wind', 'sounds', (), 0, 0, 'breeze, gale, blowing wind, howling wind, wind noise'),
    _c('thunder', 'sounds', (), 0, 0, 'thunderstorm, lightning, rumble'),
    _c('birds', 'sounds', (), 0, 0, 'bird, birdsong, chirping, robin, bird whistling, crow, tweeting'),
    _c('noise', 'sounds', (), 0, 0, 'background noise, hiss, hum, static, white noise, vacuum, machine noise, tape hiss'),
    _c('footsteps', 'sounds', (), 0, 0, 'walking, steps, footfall'),
    _c('bell', 'sounds', (), 0, 0, 'small bell, hand bell, doorbell, wind chimes, jingle bells, temple bell, ringing'),
    _c('metal', 'sounds', (), 0, 0, 'clang, metallic hit, clanging metal, tin can, pan hit'),
    _c('glass', 'sounds', (), 0, 0, 'breaking glass, clink, wine glass, glass clinking'),
    _c('engine', 'sounds', (), 0, 0, 'motor, car, car engine, truck, motorcycle, machine, traffic'),
    _c('siren', 'sounds', (), 0, 0, 'police car, ambulance, alarm, police siren'),
)  # fmt: skip

BY_NAME: dict[str, Concept] = {concept.name: concept for concept in CONCEPTS}
NAMES: tuple[str, ...] = tuple(BY_NAME)

RELATED: tuple[frozenset[str], ...] = (
    frozenset({'violin', 'viola', 'cello', 'strings', 'synth strings', 'double bass'}),
    frozenset({'electric bass', 'slap bass', 'double bass', 'synth bass'}),
    frozenset({'trumpet', 'muted trumpet', 'trombone', 'french horn', 'brass section', 'synth brass', 'tuba'}),
    frozenset({'drums', 'kick drum', 'snare drum', 'cymbals', 'hi-hat', 'hand percussion', 'taiko', 'timpani'}),
    frozenset({'choir', 'vocals', 'speech'}),
    frozenset({'acoustic guitar', 'electric guitar', 'distorted guitar'}),
    frozenset({'piano', 'electric piano', 'clavinet', 'harpsichord'}),
    frozenset({'organ', 'church organ', 'accordion', 'harmonica'}),
    frozenset({'synth lead', 'synth pad', 'synth strings', 'synth brass', 'synth bass', 'strings', 'brass section'}),
    frozenset({'glockenspiel', 'celesta', 'music box', 'tubular bells', 'bell'}),
    frozenset({'marimba', 'xylophone', 'vibraphone', 'kalimba', 'steel drums'}),
    frozenset({'flute', 'recorder', 'pan flute', 'whistle', 'shakuhachi'}),
    frozenset({'oboe', 'bassoon', 'clarinet', 'saxophone', 'shehnai', 'bagpipes'}),
    frozenset({'koto', 'banjo', 'sitar', 'dulcimer', 'harp', 'pizzicato strings', 'acoustic guitar'}),
)


def concept_called(word: str) -> str | None:
    """Return the concept that has this name or synonym."""
    return next((c.name for c in CONCEPTS if word == c.name or word in c.synonyms), None)


def related(first: str, second: str) -> bool:
    """True if a listener could call both sounds by one word."""
    return first == second or any(first in group and second in group for group in RELATED)


# What users want most gets most of the training data; the rest shares what is left.
WEIGHT: dict[str, float] = {
    'piano': 4, 'drums': 6, 'electric bass': 4, 'double bass': 2, 'acoustic guitar': 3, 'electric guitar': 3,
    'distorted guitar': 2.5, 'violin': 3, 'cello': 2, 'strings': 3, 'vocals': 4, 'choir': 1.5, 'trumpet': 2,
    'saxophone': 3, 'flute': 2, 'clarinet': 2, 'organ': 2, 'synth lead': 2, 'synth pad': 2, 'electric piano': 2,
    'synth bass': 1.5, 'brass section': 1.5,
}  # fmt: skip

PROGRAM_TO_CONCEPT: dict[int, str] = {
    program: concept.name for concept in CONCEPTS for program in concept.programs if program >= 0
}

# Labels of the recordings' manifest -> concept; others by their last resort, the words in them (recordings.py).
RECORDING_LABELS: dict[str, str] = {
    'electric bass guitar': 'electric bass', 'electric grand piano': 'piano', 'electric piano': 'electric piano',
    'grand piano': 'piano', 'upright piano': 'piano', 'pizzicato strings': 'pizzicato strings', 'shehnai': 'shehnai',
    'sitar': 'sitar', 'steel string acoustic guitar': 'acoustic guitar', 'tremolo strings': 'strings',
    'clean electric guitar': 'electric guitar', 'double bass bowed': 'double bass',
    'double bass pizzicato': 'double bass', 'alto saxophone': 'saxophone', 'brushed snare drum': 'snare drum',
    'cello and viola section': 'strings', 'closed hi-hat': 'hi-hat', 'open hi-hat': 'hi-hat',
    'crash cymbal': 'cymbals', 'ride cymbal': 'cymbals', 'drawbar organ emulation': 'organ',
    'french horn': 'french horn', 'kalimba': 'kalimba', 'kick drum': 'kick drum', 'marimba': 'marimba',
    'snare drum': 'snare drum', 'steel drums': 'steel drums', 'vibraphone': 'vibraphone', 'trumpet': 'trumpet',
    'drum kit': 'drums', 'electric guitar': 'electric guitar', 'synth bass': 'synth bass', 'tabla': 'hand percussion',
    'acoustic guitar': 'acoustic guitar', 'violin': 'violin', 'xylophone': 'xylophone',
    'baby cry': 'baby cry', 'chainsaw': 'chainsaw', 'clock tick': 'clock tick', 'dog bark': 'dog bark',
    'fire crackling': 'fire', 'helicopter': 'helicopter', 'person sneeze': 'sneeze', 'rain': 'rain',
    'rooster': 'rooster', 'sea waves': 'sea waves', 'female singing voice': 'vocals', 'male singing voice': 'vocals',
    'singing voice vowel a legato': 'vocals', 'singing voice vowel a short': 'vocals',
    'singing voice vowel a sustained': 'vocals', 'female speech german': 'speech', 'female speech english': 'speech',
    'male speech english': 'speech', 'conga': 'hand percussion', 'conga loop': 'hand percussion',
    'conga roll': 'hand percussion', 'egg shaker': 'hand percussion', 'shaker': 'hand percussion',
    'tambourine': 'hand percussion', 'hand drum': 'hand percussion', 'cowbell1 big': 'hand percussion',
    'china cymbal': 'cymbals', 'bowed cymbal': 'cymbals', 'gong': 'cymbals', 'snare brush': 'snare drum',
    'music box': 'music box', 'piano': 'piano', 'piano hit': 'piano', 'guitar chord': 'acoustic guitar',
    'thunder': 'thunder', 'train': 'train', 'subwaytrain b line': 'train', 'underground train': 'train',
    'train passing': 'train', 'water': 'water', 'water in sink': 'water', 'wild river': 'water',
    'waterfall': 'water', 'watersplash': 'water', 'water bubbles': 'water', 'whistle': 'whistle',
    'bird whistling robin': 'birds', 'crow': 'birds', 'hiss': 'noise', 'background noise': 'noise',
    'vacuum': 'noise', 'walking': 'footsteps', 'ambient rain': 'rain', 'tiny bell': 'bell', 'tinybell': 'bell',
    'templebell': 'bell', 'wind chimes': 'bell', 'ambient policesiren': 'siren', 'alarm': 'siren',
}  # fmt: skip
