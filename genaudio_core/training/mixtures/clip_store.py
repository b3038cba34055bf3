"""The sounds that mixtures are made of, held where the network is trained."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import notice
from genaudio_core.training.mixtures.device_effects import BLOCK
from genaudio_core.training.mixtures.solo_mixtures import SOUNDING
from genaudio_core.training.sounds.packed_clips import Clip


class ClipStore:
    """The train clips of sound sets (``packed_clips.py``) in the memory of a device.

    Parameters
    ----------
    folders
        Of prepared sounds; those that are not there yet are looked for again at every `refresh`.
    channels
        1 (the mean of both) or 2.
    hours
        Room for as many hours of one channel; what does not fit is left out.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, channels: int, hours: float):
        self.folders, self.device, self.channels = list(folders), device, channels
        for folder in self.folders:
            if not (folder / 'index.jsonl').is_file():
                notice(f'{folder} has no sounds yet; it is read again while training goes on.')
        self.samples = torch.empty(int(hours * 3600 * 44100), dtype=torch.int16, device=device)
        self.filled = 0
        self.clips: list[Clip] = []
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.places: list[tuple[int, int, int]] = []  # start in `samples`, samples of a channel, channels
        self.power: list[np.ndarray] = []  # of each block of a clip
        self._read: dict[Path, int] = defaultdict(int)  # bytes of each index
        self._table: Tensor | None = None
        self._turn = -1

    def refresh(self, most: int = 1 << 30) -> int:
        """Take in at most `most` clips that were written since the last call; return their number."""
        found = 0
        self._turn += 1  # each folder is first in turn: `most` may end in any of them
        first = self._turn % len(self.folders)
        for folder in self.folders[first:] + self.folders[:first]:
            index = folder / 'index.jsonl'
            if not index.is_file():
                continue
            with index.open('rb') as lines:
                lines.seek(self._read[folder])
                for line in lines:
                    if not line.endswith(b'\n') or found >= most:
                        break
                    self._read[folder] += len(line)
                    clip = Clip(**json.loads(line))
                    if clip.split == 'train' and clip.sample_rate == 44100 and self._take(folder, clip):
                        found += 1
        if found:
            self._table = None
        return found

    def _take(self, folder: Path, clip: Clip) -> bool:
        stored = min(clip.channels, self.channels)
        if self.filled + stored * clip.n_samples > len(self.samples) or clip.n_samples < BLOCK:
            return False
        raw = np.memmap(folder / clip.shard, '<i2', 'r', 2 * clip.offset, (clip.n_samples, clip.channels))
        audio = torch.from_numpy(np.array(raw)).to(self.device).T
        if stored < clip.channels:
            audio = audio.float().mean(0, keepdim=True).round().to(torch.int16)
        place = self.samples[self.filled : self.filled + stored * clip.n_samples]
        place.copy_(audio.reshape(-1))
        whole = clip.n_samples // BLOCK * BLOCK
        power = (audio[:, :whole].float() / 32767).square().mean(0).view(-1, BLOCK).mean(1)
        if clip.kind == 'stem':
            self.groups[f'{folder}/{clip.group}'].append(len(self.clips))
        self.clips.append(clip)
        self.places.append((self.filled, clip.n_samples, stored))
        self.power.append(power.cpu().numpy())
        self.filled += stored * clip.n_samples
        return True

    def sounding(self, clip: int, wanted: int, draw: Any, tries: int = 4) -> int | None:
        """Return where an excerpt of `wanted` samples begins that can be heard, or None."""
        length, power = self.places[clip][1], self.power[clip]
        for _ in range(tries):
            start = int(draw.random() * max(1, length - wanted))
            heard = power[start // BLOCK : max(start // BLOCK + 1, (start + wanted) // BLOCK)]
            if heard.size and heard.mean() > SOUNDING**2:
                return start
        return None

    def excerpts(self, clips: Sequence[int], starts: Sequence[int], speeds: Sequence[float], n: int) -> Tensor:
        """Return float32 (clips, channels, n); past the end comes silence, or the clip again if it is short."""
        if self._table is None:
            self._table = torch.tensor(self.places, dtype=torch.int64, device=self.device)
        rows = torch.index_select(self._table, 0, torch.tensor(clips, device=self.device))
        offset, length, channels = rows.T[:, :, None]
        start = torch.tensor(starts, device=self.device)[:, None]
        speed = torch.tensor(speeds, dtype=torch.float64, device=self.device)[:, None]
        at = torch.arange(n, device=self.device) * speed
        whole = at.floor()
        part = (at - whole).float()[:, None]
        # Short clips are heard again and again, with a gap, as ``solo_mixtures.py`` tiles them.
        place = whole.long() + start
        place = torch.where(length < n, place % (length + 2 * BLOCK), place)
        channel = torch.arange(self.channels, device=self.device)[:, None] % channels[:, None]  # (S, channels, 1)
        base = offset[:, None] + channel * length[:, None]

        def heard(place: Tensor) -> Tensor:
            inside = (place < length)[:, None]
            index = base + torch.minimum(place, length - 1)[:, None]
            return torch.where(inside, self.samples[index].float(), 0.0)

        first = heard(place)
        return (first + (heard(place + 1) - first) * part) / 32767
