"""MIDI files written byte by byte, sharing no code with what they test."""

import struct


def variable(number: int) -> bytes:
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(digits[::-1])


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack('>I', len(content)) + content


def head(kind: int, tracks: int, division: int = 480) -> bytes:
    return chunk(b'MThd', struct.pack('>HHH', kind, tracks, division & 0xFFFF))


def meta(kind: int, payload: bytes = b'') -> bytes:
    return bytes((0xFF, kind)) + variable(len(payload)) + payload


def sysex(payload: bytes, status: int = 0xF0) -> bytes:
    return bytes((status,)) + variable(len(payload)) + payload


def track(*events: tuple[int, bytes], end: int = 0, ended: bool = True) -> bytes:
    """A track of (tick, bytes) events, in the order of their ticks."""
    content, now = b'', 0
    for tick, data in sorted(events, key=lambda event: event[0]):
        content += variable(tick - now) + data
        now = tick
    return chunk(b'MTrk', content + (variable(max(end - now, 0)) + meta(0x2F) if ended else b''))


def note(tick: int, length: int, key: int, channel: int = 0, velocity: int = 80, release: int = 64) -> list:
    return [(tick, bytes((0x90 | channel, key, velocity))), (tick + length, bytes((0x80 | channel, key, release)))]


def melody(n: int = 16, channel: int = 0, base: int = 60, start: int = 0, step: int = 480) -> list:
    return [
        event
        for i in range(n)
        for event in note(start + i * step, step - 20, base + (0, 2, 4, 5, 7, 9, 11, 12)[i % 8], channel)
    ]


def control(tick: int, number: int, value: int, channel: int = 0) -> tuple[int, bytes]:
    return tick, bytes((0xB0 | channel, number, value))


def program(tick: int, number: int, channel: int = 0) -> tuple[int, bytes]:
    return tick, bytes((0xC0 | channel, number))
