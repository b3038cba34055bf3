"""The contents of a sound file by its bytes, found before a decoder believes its header.

Headers lie: a program that writes into a pipe cannot go back and fill in the length (0, 0xFFFFFFFF, 2,000,000,000),
a recorder that dies leaves a length of 0, a download breaks off, an MP3 without a Xing header says nothing at all, and
files are joined by `cat`. `links_of` looks at the containers (RIFF, RF64, AIFF, MPEG, Ogg, FLAC) and returns the
streams that lie in the file one after the other, each as the decoder is to see it: with a header that agrees with its
bytes, and with what the header promised before. Nothing is decoded here.
"""

import functools
import io
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_UNTIL_THE_END = 0x70000000  # bytes; so much in front of less than half of it is not a length, but "to the end"
_XING_FRAMES, _XING_BYTES = 1, 2
_RESYNC = 600  # bytes between two frames of MPEG over which a decoder would give up


@dataclass(frozen=True)
class Link:
    """One stream of a file, as a decoder is to be shown it."""

    start: int  # byte of the file
    stop: int
    head: bytes = b''  # goes in front of them, instead of what the file has there
    promised: int | None = None  # samples that its own header speaks of; 0: it says nothing; None: ask the decoder
    cut_short: bool = False  # it has no end
    at_most: int | None = None  # samples; what a decoder gives beyond them is padding of its last block


class Shown(io.RawIOBase):
    """The bytes of a `Link`, as a file."""

    def __init__(self, path: str | Path, link: Link):
        super().__init__()
        self._file, self._link = open(path, 'rb'), link  # noqa: SIM115 (closed with this)
        self._at, self._size = 0, len(link.head) + link.stop - link.start

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer) -> int:
        view, link = memoryview(buffer).cast('B'), self._link
        n = max(0, min(len(view), self._size - self._at))
        done = 0
        if self._at < len(link.head):
            part = link.head[self._at : self._at + n]
            view[: len(part)] = part
            done = len(part)
        if done < n:
            self._file.seek(link.start + self._at + done - len(link.head))
            done += self._file.readinto(view[done:n])
        self._at += done
        return done


def links_of(path: str | Path) -> list[Link]:
    """Return the streams of a file, in their order; one that is the whole file where it is of another container.

    There are none where it begins like MPEG and is not: a decoder would print what it thinks of that.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = _after_id3(data, 0)
        magic = data[begin : begin + 4]
        if magic in (b'RIFF', b'RIFX', b'RF64', b'BW64') and data[begin + 8 : begin + 12] == b'WAVE':
            return _wave(data, begin)
        if magic == b'FORM' and data[begin + 8 : begin + 12] in (b'AIFF', b'AIFC'):
            return [_aiff(data, begin)]
        if magic == b'OggS':
            return _ogg(data, begin)
        if magic == b'fLaC':
            return _flac(data, begin)
        if magic in (b'riff', b'caff', b'.snd'):
            return [_wide(data, magic)]
        # Films and m4a hold what looks like MPEG here and there.
        if magic != b'\x1a\x45\xdf\xa3' and data[begin + 4 : begin + 8] != b'ftyp' and (links := _mpeg(data, begin)):
            return links
        return [] if data[begin : begin + 2] >= b'\xff\xe0' else [Link(0, len(data))]


def foreign_kind(path: str | Path) -> str:
    """The format of a file that no decoder here reads, such as ``'MPEG-4 (m4a, mp4)'``; empty if that is not known."""
    with open(path, 'rb') as file:
        head = file.read(64)
    if head[4:8] == b'ftyp':
        return 'MPEG-4 (m4a, mp4)'
    if head[:4] in (b'RIFF', b'RIFX', b'RF64') and head[8:12] == b'WAVE':
        return 'a damaged wav, or of a coding'
    if head[:4] == b'RIFF' and head[8:12] == b'RMID':
        return MIDI
    if head[:2] in (b'\xff\xf1', b'\xff\xf9'):
        return 'AAC'
    return next((kind for mark, kind in _FOREIGN.items() if head.startswith(mark)), '')


MIDI = 'MIDI (notes, no sound)'
_FOREIGN = {
    b'\x30\x26\xb2\x75': 'Windows Media (wma)', b'\x1a\x45\xdf\xa3': 'Matroska (mka, webm)', b'wvpk': 'WavPack (wv)',
    b'MAC ': "Monkey's Audio (ape)", b'TTA1': 'True Audio (tta)', b'\x0b\x77': 'AC-3', b'#!AMR': 'AMR', b'DSD ': 'DSD',
    b'FRM8': 'DSD', b'MP+': 'Musepack (mpc)', b'MPCK': 'Musepack (mpc)', b'OggS': 'Ogg of a coding',
    b'MThd': MIDI, b'\x00\x00\x01\xba': 'an MPEG film', b'FLV': 'a Flash film',
    b'RIFF': 'a film or another RIFF file',
}  # fmt: skip


def _after_id3(data: mmap.mmap, at: int) -> int:
    """The byte after the ID3v2 tags at `at` (pictures in them may look like anything)."""
    while data[at : at + 3] == b'ID3' and at + 10 <= len(data):
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, data[at + 6 : at + 10], 0)
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    return min(at, len(data))


def _before_tags(data: mmap.mmap) -> int:
    """The byte where tags of ID3v1 and APE at the end of the file begin; its length where there are none."""
    stop = len(data)
    if data[stop - 128 : stop - 125] == b'TAG':
        stop -= 128
    if data[stop - 32 : stop - 24] == b'APETAGEX':
        size, _, flags = struct.unpack_from('<III', data, stop - 20)
        stop -= size + 32 * (flags >> 31)
    return max(stop, 0)


# --- RIFF and AIFF ---------------------------------------------------------------------------------------------------


def _is_chunks(data: mmap.mmap, at: int, order: str) -> bool:
    """Whether the rest of the file is a sequence of chunks (and not sound)."""
    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from(order + 'I', data, at + 4)
        if not all(32 <= byte < 127 for byte in name):
            return False
        at += 8 + size + size % 2
    return at in (len(data), len(data) + 1)


def _named(data: mmap.mmap, at: int) -> bool:
    """Whether a chunk may begin here."""
    return at + 8 <= len(data) and all(32 <= byte < 127 for byte in data[at : at + 4])


_CHUNKS = (
    b'data', b'fmt ', b'fact', b'LIST', b'bext', b'JUNK', b'junk', b'PAD ', b'iXML', b'axml', b'cue ', b'smpl', b'PEAK',
    b'inst', b'plst', b'cart', b'levl', b'id3 ', b'ID3 ', b'INFO',
)  # fmt: skip


def _wave(data: mmap.mmap, begin: int) -> list[Link]:
    """Every data chunk is a link. What lies before it may have wrong lengths, or lack the byte that makes it even."""
    order = '>' if data[begin : begin + 4] == b'RIFX' else '<'
    at, block, channels, linear, wide, promised, at_most = begin + 12, 1, 1, False, None, None, None
    layout, fact, odd, early, adpcm = b'', 0, False, False, False
    found: list[Link] = []

    def head(n: int) -> bytes:
        body = b'WAVEfmt ' + struct.pack(order + 'I', len(layout)) + layout + bytes(len(layout) % 2)
        size = min(len(body) + 8 + n, 0xFFFFFFFF)
        return data[begin : begin + 4] + struct.pack(order + 'I', size) + body + b'data' + struct.pack(order + 'I', n)

    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from(order + 'I', data, at + 4)
        if name == b'ds64' and at + 24 <= len(data):
            (wide,) = struct.unpack_from('<Q', data, at + 16)
        elif name == b'fmt ' and at + 24 <= len(data) and not layout:
            kind, channels, _, _, block = struct.unpack_from(order + 'HHIIH', data, at + 8)
            layout = data[at + 8 : at + 8 + size]
            if kind == 0xFFFE and size >= 26 and at + 34 <= len(data):
                (kind,) = struct.unpack_from(order + 'H', data, at + 32)
            linear, block = kind in (1, 3, 6, 7), max(1, block)
            promised = 0 if kind in (0x50, 0x55) else None  # MPEG inside: the decoder only estimates
            adpcm = kind in (2, 0x11) and len(layout) >= 20
        elif name == b'fact' and size >= 4 and at + 12 <= len(data):
            (fact,) = struct.unpack_from(order + 'I', data, at + 8)
        elif name != b'data' and not layout:
            early = True  # a decoder may not look behind it for what the sound is like
        elif name == b'data':
            there = len(data) - at - 8
            said = wide if wide is not None and size == 0xFFFFFFFF else size
            unknown = said == 0xFFFFFFFF or (said >= _UNTIL_THE_END and there < said // 2)
            if said == 0 and there >= block and not found and not _is_chunks(data, at + 8, order):
                said, unknown = 0, True  # the recorder never came to fill it in
            if unknown or said > there:
                short = not unknown and there // block < said // block
                if there < 0xFFFFFFFF and wide is None and layout:
                    n = there - there % block if linear else there
                    whole, said = head(n), said // block if linear and short else promised
                    return [*found, Link(at + 8, len(data), whole, said, cut_short=short)]
                return [Link(0, len(data), promised=said // block if linear and short else promised, cut_short=short)]
            # The last blocks of ADPCM are filled up; `fact` counts the samples that are sound. Where they are
            # stereo, libsndfile writes half of their number.
            per_block = struct.unpack_from(order + 'H', layout, 18)[0] if adpcm else 0
            there = -(-said // block) * per_block
            if 0 < there - fact < 2 * per_block and fact != there // max(1, channels) and not found:
                at_most = fact
            if said and said < 0xFFFFFFFF and layout and wide is None:
                found.append(Link(at + 8, at + 8 + said, head(said), promised, at_most=at_most))
        elif at + 8 + size > len(data):
            # A length that cannot be: the sound must be behind it.
            if found or (sound := data.find(b'data', at + 8)) < 0:
                break
            at, odd = sound, True
            continue
        at += 8 + size
        if size % 2:
            unpadded = _named(data, at) and (data[at : at + 4] in _CHUNKS or not _named(data, at + 1))
            odd = odd or (unpadded and not found)
            at += 0 if unpadded else 1
    if len(found) > 1 or (found and (odd or (linear and early))):
        return found
    return [Link(0, len(data), promised=promised, at_most=at_most)]


def _aiff(data: mmap.mmap, begin: int) -> Link:
    at, common, promised, block, linear = begin + 12, 0, 0, 1, data[begin + 8 : begin + 12] == b'AIFF'
    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from('>I', data, at + 4)
        if name == b'COMM' and at + 16 <= len(data):
            channels, promised, bits = struct.unpack_from('>HIH', data, at + 8)
            common, block = at, max(1, channels * -(-bits // 8))
            linear = linear or data[at + 26 : at + 30] in (b'NONE', b'sowt', b'twos')
        elif name == b'SSND':
            there = (len(data) - at - 16) // block
            if not common or not linear or there < 0 or (promised <= there and (promised or not there)):
                break
            if promised == 0 and _is_chunks(data, at + 8 + size + size % 2, '>') and size <= 8:
                break  # it is empty, and says so
            head = bytearray(data[begin : at + 16])
            struct.pack_into('>I', head, common - begin + 10, there)
            struct.pack_into('>I', head, at - begin + 4, min(there * block + 8, 0xFFFFFFFF))
            unknown = promised == 0 or promised * block >= _UNTIL_THE_END > 2 * there * block
            return Link(at + 16, at + 16 + there * block, bytes(head), None if unknown else promised, not unknown)
        at += 8 + size + size % 2
    return Link(0, len(data))


def _wide(data: mmap.mmap, magic: bytes) -> Link:
    """W64, CAF and AU: decoders stop where the bytes do; what is missing is counted here."""
    block, said, sound, head = 1, 0, len(data), b''
    try:
        if magic == b'.snd':
            sound, said, coding, _, channels = struct.unpack_from('>IIIII', data, 4)
            block = channels * {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(coding, 0)
            said = -1 if said == 0xFFFFFFFF else said
        elif magic == b'caff':
            at = 8
            while data[at : at + 4] != b'data':
                name, size = data[at : at + 4], struct.unpack_from('>q', data, at + 4)[0]
                if name == b'desc':
                    block = struct.unpack_from('>I', data, at + 28)[0]
                at += 12 + max(0, size)
            said, sound = struct.unpack_from('>q', data, at + 4)[0] - 4, at + 16
            # A decoder refuses a file that is shorter than this length.
            head = data[: at + 4] + struct.pack('>q', max(4, len(data) - at - 12)) + data[at + 12 : at + 16]
        else:
            at = 40
            while data[at : at + 4] != b'data':
                size = struct.unpack_from('<Q', data, at + 16)[0]
                if data[at : at + 4] == b'fmt ':
                    block = struct.unpack_from('<H', data, at + 36)[0]
                at += max(24, -(-size // 8) * 8)
            said, sound = struct.unpack_from('<Q', data, at + 16)[0] - 24, at + 24
    except (struct.error, OverflowError):  # a chunk that ends beyond any file
        return Link(0, len(data))
    short = 0 <= len(data) - sound < said < 1 << 62
    if not short or not head:
        sound, head = 0, b''
    return Link(sound, len(data), head, said // block if short and block else None, cut_short=short)


# --- Ogg and FLAC ----------------------------------------------------------------------------------------------------


def _ogg(data: mmap.mmap, begin: int) -> list[Link]:
    """Links of a chain begin where a first page follows one that is not.

    The last page of a link says how long it is, as long as its first page of sound follows its headers: a recorded
    broadcast counts from when the sender began.
    """
    starts: list[int] = []
    lengths: list[int | None] = []
    at, heads, ended = begin, False, False
    skip = serial = page = 0
    while at + 27 <= len(data) and data[at : at + 4] == b'OggS':
        flags, segments = data[at + 5], data[at + 26]
        size = 27 + segments + sum(data[at + 27 : at + 27 + segments])
        granule, own, number = struct.unpack_from('<qII', data, at + 6)
        if flags & 2 and not heads:
            starts.append(at)
            lengths.append(0)
            body = data[at + 27 + segments : at + size]
            skip = int.from_bytes(body[10:12], 'little') if body[:8] == b'OpusHead' else 0
            serial, page = own, number
        heads = bool(flags & 2)
        if at + size > len(data):
            ended = False
            break
        if lengths and own == serial and lengths[-1] is not None:
            if lengths[-1] == 0 and number not in (page, page + 1):
                lengths[-1] = None  # it begins somewhere in the middle
            elif granule > 0:
                lengths[-1] = max(lengths[-1], granule - skip)
            page = number
        ended = bool(flags & 4)
        at += size
        if data[at : at + 4] != b'OggS':  # a hole, or something behind the sound
            found = data.find(b'OggS', at)
            at = found if found >= 0 else len(data)
    if not starts:  # cut short within its first page, or in the middle of a stream: the decoder says what it is
        return [Link(begin, len(data), cut_short=True)]
    stops = [*starts[1:], len(data)]
    return [
        Link(a, b, promised=length or None, cut_short=b == len(data) and not ended)
        for a, b, length in zip(starts, stops, lengths, strict=True)
    ]


def _flac(data: mmap.mmap, begin: int) -> list[Link]:
    starts, mark = [begin], b'fLaC\x00\x00\x00\x22'
    while (found := data.find(mark, starts[-1] + 42)) >= 0:
        starts.append(found)
    links = []
    for start, stop in zip(starts, [*starts[1:], _before_tags(data)], strict=True):
        total = int.from_bytes(data[start + 18 : start + 26], 'big') & ((1 << 36) - 1)
        links.append(Link(start, stop, promised=total))
    return links


# --- MPEG ------------------------------------------------------------------------------------------------------------

_RATES = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # (3: MPEG 1, 2: MPEG 2 and 2.5; 3: layer I, 2: II, 1: III) -> kbit/s


def _frame(second: int, third: int) -> tuple[int, int]:
    """(bytes, samples) of the frame with these bytes after 0xFF; (0, 0) if it is none."""
    version, layer, rate, hertz = second >> 3 & 3, second >> 1 & 3, third >> 4, third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 0 or rate in (0, 15) or hertz == 3:
        return 0, 0
    kilobits = _RATES[3 if version == 3 else 2, layer][rate - 1]
    frequency = (44100, 48000, 32000)[hertz] >> (0, 0, 1, 2)[3 - version if version else 3]
    samples = 384 if layer == 3 else 576 if layer == 1 and version != 3 else 1152
    if layer == 3:
        return (12000 * kilobits // frequency + (third >> 1 & 1)) * 4, samples
    return samples // 8 * 1000 * kilobits // frequency + (third >> 1 & 1), samples


@functools.cache
def _frame_sizes() -> list[int]:
    return [_frame(code >> 8, code & 0xFF)[0] for code in range(1 << 16)]


def _like(second: int, third: int) -> tuple[int, int]:
    """The properties that all frames of a stream share: version, layer and rate."""
    return second & 0xFE, third & 0x0C


def _next_frame(data: mmap.mmap, at: int, kind: tuple[int, int] | None = None) -> int:
    """The first byte from `at` on where a frame begins that another one of its kind follows (or the end); or -1."""
    sizes = _frame_sizes()
    while (at := data.find(b'\xff', at)) >= 0 and at + 4 <= len(data):
        size = sizes[data[at + 1] << 8 | data[at + 2]]
        own = _like(data[at + 1], data[at + 2])
        after = at + size
        if size and kind in (None, own) and after <= len(data):
            if after == len(data):
                return at
            if after + 3 <= len(data) and data[after] == 0xFF and _like(data[after + 1], data[after + 2]) == own:
                return at
            if data[after : after + 3] in (b'TAG', b'ID3', b'APE'):
                return at
        at += 1
    return -1


def _tags(data: mmap.mmap, begin: int) -> dict[int, int]:
    """Where frames would begin that hold a Xing or Info header -> where that is."""
    found: dict[int, int] = {}
    for word in (b'Xing', b'Info'):
        at = data.find(word, begin)
        while at >= 0:
            for side in (36, 21, 13):
                found[at - side] = at
            at = data.find(word, at + 4)
    return found


def _mpeg(data: mmap.mmap, begin: int) -> list[Link]:
    """Every Xing header begins a link. Each gets one that says how many frames there are."""
    first = _next_frame(data, begin)
    # Junk in front is passed over, as players do; a file that is all junk until late is something else.
    if first < 0 or first > begin + (1 << 20):
        return []
    sizes, tags = _frame_sizes(), _tags(data, first)
    kind = _like(data[first + 1], data[first + 2])
    links: list[Link] = []
    start, at, count, cut = first, first, 0, False

    def close(stop: int, cut_short: bool = False, hole: bool = False) -> None:
        if count:
            links.append(_mpeg_link(data, start, stop, count, tags.get(start), cut_short, hole))

    while at + 4 <= len(data):
        size = sizes[data[at + 1] << 8 | data[at + 2]] if data[at] == 0xFF else 0
        if not size or _like(data[at + 1], data[at + 2]) != kind:
            # Tags between and behind, a hole, or a stream of another kind.
            tagged = _after_id3(data, at)
            found = _next_frame(data, tagged, None)
            if found < 0:
                break
            other, hole = _like(data[found + 1], data[found + 2]), found - tagged > _RESYNC
            if other != kind or hole:
                close(at, hole, hole)
                start, count, kind = found, 0, other
            at = found
            continue
        if at in tags and at != start:
            close(at)
            start, count = at, 0
        if at + size > len(data):
            cut = True
            break
        count += 1
        at += size
    close(min(at, len(data)), cut)
    return links


def _mpeg_link(
    data: mmap.mmap, start: int, stop: int, count: int, tag: int | None, cut: bool, hole: bool = False
) -> Link:
    size, samples = _frame(data[start + 1], data[start + 2])
    if tag is None or tag + 16 > start + size:
        frame = bytearray(data[start : start + 4])
        frame[1] |= 1  # no checksum
        # A rate at which the header fits in.
        frame[2] = next(code << 4 | frame[2] & 0x0C for code in range(8, 15)
                        if _frame(frame[1], code << 4 | frame[2] & 0x0C)[0] >= 200)  # fmt: skip
        mono, mpeg1 = frame[3] >> 6 == 3, frame[1] >> 3 & 3 == 3
        side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
        size = _frame(frame[1], frame[2])[0]
        body = bytes(side) + b'Info' + struct.pack('>III', _XING_FRAMES | _XING_BYTES, count, size + stop - start)
        head = bytes(frame) + body
        if frame[1] >> 1 & 3 != 1:  # layers I and II have no such header; their length is counted as it is decoded
            return Link(start, stop, promised=count * samples, cut_short=cut)
        return Link(start, stop, head.ljust(size, b'\0'), cut_short=cut)
    (flags,) = struct.unpack_from('>I', data, tag + 4)
    said = struct.unpack_from('>I', data, tag + 8)[0] if flags & _XING_FRAMES else 0
    there = count - 1  # the header's own frame is silent
    head = bytearray(data[start : start + size])
    at_bytes = tag - start + 8 + 4 * bool(flags & _XING_FRAMES)
    if flags & _XING_BYTES:
        struct.pack_into('>I', head, at_bytes, min(stop - start, 0xFFFFFFFF))  # or the decoder complains on its own
    if said >= there and said and not hole:
        same = head == data[start : start + size]
        return (
            Link(start, stop, cut_short=said > there)
            if same
            else (Link(start + size, stop, bytes(head), cut_short=said > there))
        )
    if flags & _XING_FRAMES:
        struct.pack_into('>I', head, tag - start + 8, there)
        # What was padding at the end of fewer frames is sound now. LAME's tag lies behind counts, table and quality.
        lame = tag - start + 8 + 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
        if lame + 24 <= len(head) and any(head[lame : lame + 4]):
            head[lame + 22 : lame + 24] = bytes((head[lame + 22] & 0xF0, 0))
    else:
        return Link(start + size, stop, _mpeg_link(data, start, stop, count, None, cut).head, cut_short=cut)
    return Link(start + size, stop, bytes(head), cut_short=cut)
