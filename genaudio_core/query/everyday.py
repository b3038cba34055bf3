"""What people ask for by names that are no sound of the lexicon: 'instrumental', 'no drums', 'woodwinds'.

Two kinds: a *complement* is all of the mixture but some sounds, and means the same to every encoder; the other names
stand for sounds of the lexicon, for the bundled encoder alone.
"""

import re

# A name, as `plain_words` leaves it ('backing track' is 'backing'), -> the sounds that it lacks.
COMPLEMENTS: dict[str, str] = dict.fromkeys(
    ('instrumental', 'instrumentals', 'instrumental version', 'instrumental mix', 'karaoke', 'karaoke version',
     'backing', 'backing band', 'band', 'accompaniment', 'off vocal'), 'vocals',
) | {
    'drumless': 'drums', 'bassless': 'bass', 'guitarless': 'guitar', 'vocalless': 'vocals', 'voiceless': 'vocals',
    'other': 'vocals, drums, bass', 'others': 'vocals, drums, bass',
}  # fmt: skip
# A name -> words of the lexicon. What the lexicon says of 'toms' is the drum that is most like them.
SAME_AS: dict[str, str] = {
    name: words
    for words, names in {
        'noise': 'sound effects, sound effect, sound fx, fx, sfx, effects, foley, riser, risers, whoosh, impacts',
        'hand percussion': 'percussion, percussions, percussion section, auxiliary percussion, perc, triangle',
        'flute + clarinet + oboe + saxophone':
            'woodwinds, woodwind, winds, wind instruments, wind section, woodwind section, reeds',
        'distorted guitar + electric guitar': 'lead guitar, lead guitars, guitar lead',
        'electric guitar + acoustic guitar': 'rhythm guitar, rhythm guitars, guitar rhythm',
        'synth lead': 'arp, arps, arpeggio, arpeggios, arpeggiator, lead, leads, synths, pluck, plucks',
        'synth brass': 'stab, stabs',
        'synth bass': '808, 808s, sub',
        'brass section': 'horns',
        'drums + electric bass': 'rhythm section, rhythm',
        'vocals': 'rap, rapper, rapping, rap vocals, mc, topline, main vocals, vocal chops, adlibs, ad libs',
        'choir': 'harmony vocals, harmonies, vocal harmonies',
    }.items()
    for name in names.split(', ')
}  # fmt: skip

_NOT = re.compile(
    r"""^(?:(?:(?:the\ )?(?:everything|all|anything|whole\ song|song|mix|music|rest)\ +)?
            (?:but|except(?:\ for)?|excluding|apart\ from|besides|other\ than|without|minus|not|no|sans|w/o)
         |remove)(?:\ the)?\ +(?P<first>.+)$
       |^(?P<last>.+?)\ +removed$""", re.IGNORECASE | re.VERBOSE,
)  # fmt: skip


def plainly(text: str) -> str:
    """Return 'not X' for what says in other words to leave X out ('everything but X', 'X removed'); else the text."""
    text = re.sub(r'\bbut\s+(?=not\b|no\b|without\b)', '', ' '.join(text.split()), flags=re.IGNORECASE)
    if re.fullmatch(r'(?:music )?minus[ -]one(?: track)?', text, re.IGNORECASE):
        return 'not vocals'
    found = _NOT.match(text)
    return f'not {found["first"] or found["last"]}' if found else text
