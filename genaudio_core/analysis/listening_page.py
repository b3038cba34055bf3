"""A page to listen to separators by: an excerpt of each song, what was wanted of it, and what each way made of it."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from genaudio_core.analysis.separation import song_folders
from genaudio_core.analysis.stems import KINDS, Way, excerpts, heard_in
from genaudio_core.files import atomic_write, make_folder
from genaudio_core.sound.audio_files import write_audio
from genaudio_core.sound.separation_metrics import si_sdr
from genaudio_core.sound.spectrogram import stft

N_FFT, HOP = 2048, 512
RANGE_DB = 70.0  # from the loudest place of the mixture down
TOP_HZ, LOW_HZ = 16000, 40
HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>What the separators make of songs</title>
<style>body {font: 16px sans-serif; max-width: 70em; margin: 2em auto} img {width: 100%} td, th {padding: .3em}</style>
<h1>What the separators make of songs</h1>"""
Rows = dict[str, dict[str, np.ndarray]]
"""What was asked for -> column ('mixture', 'wanted', a way) -> its sound (2, n)."""


def write_page(ways: Mapping[str, Way], folders: Sequence[Path], rate: int, out: Path) -> list[str]:
    """Write `out`/index.html with the sounds (.ogg) and one picture of spectrograms a song; return the songs' names.

    An excerpt is ten seconds from the middle of a song.

    Raises
    ------
    GenaudioError
        If a folder holds no songs, or a file cannot be written.
    """
    make_folder(out)
    songs = [song for folder in folders for song in song_folders(folder)]
    parts: dict[str, str] = {}
    for song in songs:
        rows = _rows(ways, song, rate)
        if rows:
            draw_rows(rows, rate, out / f'{song.name}.png')
            parts[song.name] = _section(song.name, rows, rate, out)
    with atomic_write(out / 'index.html') as temporary:
        temporary.write_text('\n'.join([HEAD, *parts.values(), '</html>', '']), encoding='utf-8')
    return list(parts)


def _rows(ways: Mapping[str, Way], song: Path, rate: int) -> Rows:
    found = list(excerpts(song, rate, 3))
    if not found:
        return {}
    stems = found[len(found) // 2]
    mixture, gain, names = heard_in(stems, KINDS.values())
    made = {way: separate(mixture * gain, names) for way, separate in ways.items()} if names else {}
    return {
        name: {'mixture': mixture * gain, 'wanted': stems[name] * gain, **{way: one[i] for way, one in made.items()}}
        for i, name in enumerate(names)
    }


def _section(song: str, rows: Rows, rate: int, out: Path) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f'<h2>{escape(song)}</h2>', f'<img src="{quote(song)}.png" alt="Spectrograms: a row for each sound">',
             '<table><tr><th>', *(f'<th>{escape(column)}' for column in columns), '</tr>']  # fmt: skip
    for name, sounds in rows.items():
        cells = [f'<tr><th>{escape(name)}']
        for column, audio in sounds.items():
            file = f'{song}-{column}.ogg' if column == 'mixture' else f'{song}-{name}-{column}.ogg'
            write_audio(out / file, audio.astype(np.float32), rate)
            figure = '' if column == 'wanted' else f'<br>{si_sdr(sounds["wanted"], audio):.1f} dB'
            cells.append(f'<td><audio controls preload="none" src="{quote(file)}"></audio>{figure}')
        lines += [*cells, '</tr>']
    return '\n'.join([*lines, '</table><p>SI-SDR against what was wanted; of the mixture, before anything is done.'])


def draw_rows(rows: Rows, rate: int, path: Path) -> None:
    """Draw spectrograms, a row for each sound that was asked for, all on the scale of the mixture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = list(next(iter(rows.values())))
    figure = Figure(figsize=(3.0 * len(columns), 1.7 * len(rows) + 0.4), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for axes, (name, sounds) in zip(panels, rows.items(), strict=True):
        loudest = _decibels(sounds['mixture']).max()
        for panel, column in zip(axes, columns, strict=True):
            audio = sounds[column]
            seconds = audio.shape[1] / rate
            edges = np.linspace(0, rate / 2, N_FFT // 2 + 2)
            times = np.linspace(0, seconds, audio.shape[1] // HOP + 2)
            panel.pcolormesh(times, edges, _decibels(audio), vmin=loudest - RANGE_DB, vmax=loudest, cmap='magma',
                             rasterized=True)  # fmt: skip
            panel.set_yscale('log')
            panel.set_ylim(LOW_HZ, min(TOP_HZ, rate / 2))
            told = '' if column in ('mixture', 'wanted') else f' ({si_sdr(sounds["wanted"], audio):.1f} dB)'
            panel.set_title(f'{column}{told}', fontsize=9)
        axes[0].set_ylabel(name, fontsize=9)
    figure.supxlabel('seconds; Hz upwards', fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=70)


def _decibels(audio: np.ndarray) -> np.ndarray:
    """(2, n) -> (N_FFT // 2 + 1, frames), of the mean power of the channels."""
    power = (np.abs(stft(audio, N_FFT, HOP)) ** 2).mean(0)
    return 10 * np.log10(np.maximum(power, 1e-10))
