"""Which channels play drums: channel 10, and those that a file or a keyboard has made so.

How that is said, by the three standards that are in use:

* GM2: bank MSB 120 is drums and 121 melody, from the next program change on;
* Yamaha XG: bank MSB 127 (kits) and 126 (effects) are drums, other banks melody, from the next program change on; or
  by system exclusive, the mode of a part;
* Roland GS: by system exclusive alone, a part to one of two drum maps. Its banks 126 and 127 are melodies of old
  models, so banks say nothing after a GS reset.

Parts listen to the channel of their number, unless a message gives them another one.
"""

DRUM_CHANNEL = 9  # channels count from 0: this is the musician's channel 10
BANK = 0  # controller: the coarse half of a bank's number
_DRUM_BANKS, _MELODY_BANK = (120, 126, 127), 121
_OFF = -1  # a part that listens to no channel
_GM = {(0x7E, 0x09, 0x01), (0x7E, 0x09, 0x02), (0x7E, 0x09, 0x03)}  # on, off, GM2 on; behind the device
_GS_RESETS = {(0x40, 0x00, 0x7F), (0x00, 0x00, 0x7F)}
_XG_RESETS = {(0x00, 0x00, 0x7E), (0x00, 0x00, 0x7F)}


def concerns_drums(message: bytes) -> bool:
    """Whether a whole MIDI message can change what `DrumParts` says."""
    status = message[0]
    return status == 0xF0 or status & 0xF0 == 0xC0 or (status & 0xF0 == 0xB0 and message[1] == BANK)


class DrumParts:
    """Follows the messages of one port, and says which of its channels play drums."""

    def __init__(self) -> None:
        self._is_gs = False
        self._reset()

    def _reset(self) -> None:
        self._banks: dict[int, int] = {}  # channel -> MSB that was chosen
        self._by_bank: dict[int, bool] = {}  # channel -> drums, as the bank of its program says
        self._by_part: dict[int, bool] = {}  # part -> drums, as system exclusive says
        self._channels: dict[int, int] = {}  # part -> channel, where it is not the one of its number

    def is_drums(self, channel: int) -> bool:
        """Whether a channel (0..15) plays drums now."""
        parts = [part for part, where in self._channels.items() if where == channel]
        if self._channels.get(channel, channel) == channel:
            parts.append(channel)
        if any(part in self._by_part for part in parts):
            return any(self._by_part.get(part, part == DRUM_CHANNEL) for part in parts)
        if channel in self._by_bank:
            return self._by_bank[channel]
        return DRUM_CHANNEL in parts if parts else channel == DRUM_CHANNEL

    def feed(self, message: bytes) -> None:
        """Take a whole message: bank, program or system exclusive (with F0, with or without F7). Others do nothing."""
        kind, channel = message[0] & 0xF0, message[0] & 15
        if message[0] == 0xF0:
            self._take(message[1:].removesuffix(b'\xf7'))
        elif kind == 0xB0 and message[1] == BANK:
            self._banks[channel] = message[2]
        elif kind == 0xC0 and channel in self._banks and not self._is_gs:
            self._choose(channel, self._banks[channel])

    def _choose(self, channel: int, bank: int) -> None:
        if bank in _DRUM_BANKS:
            self._by_bank[channel] = True
            self._by_part.pop(channel, None)
        elif bank == _MELODY_BANK:
            self._by_bank[channel] = False
            self._by_part.pop(channel, None)
        elif channel != DRUM_CHANNEL:  # many a file chooses bank 0 on channel 10, and means its drums
            self._by_bank.pop(channel, None)

    def _take(self, data: bytes) -> None:
        """Take the inside of a system exclusive message."""
        if len(data) >= 4 and (data[0], data[2], data[3]) in _GM:
            self._is_gs = False
            self._reset()
        elif len(data) >= 8 and data[0] == 0x41 and data[2:4] == b'\x42\x12':  # Roland, any device, GS, set
            self._set_gs(tuple(data[4:7]), data[7:-1])
        elif len(data) >= 7 and data[0] == 0x43 and data[1] >> 4 == 1 and data[2] == 0x4C:  # Yamaha, set, XG
            self._set_xg(tuple(data[3:6]), data[6:])

    def _set_gs(self, address: tuple[int, ...], values: bytes) -> None:
        if address in _GS_RESETS:
            self._is_gs = True
            self._reset()
        elif address[0] == 0x40 and address[1] >> 4 == 1:
            block = address[1] & 15
            part = DRUM_CHANNEL if block == 0 else block - 1 if block < 10 else block  # block 0 is part 10
            self._set_part(part, address[2], values, listens=0x02, plays=0x15)

    def _set_xg(self, address: tuple[int, ...], values: bytes) -> None:
        if address in _XG_RESETS:
            self._is_gs = False
            self._reset()
        elif address[0] == 0x08 and address[1] < 16:
            self._set_part(address[1], address[2], values, listens=0x04, plays=0x07)

    def _set_part(self, part: int, first: int, values: bytes, *, listens: int, plays: int) -> None:
        """Take the values that go to a part's addresses from `first` on."""
        for where, value in enumerate(values, first):
            if where == listens:
                self._channels[part] = value if value < 16 else _OFF
            elif where == plays:
                self._by_part[part] = value > 0
                self._by_bank.pop(part, None)
