"""Sound as arrays: files, spectra (offline, low delay, mel), loudness, SoundFonts, figures on separated sound."""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {
        'audio_files': ('AudioReader', 'AudioWriter', 'read_audio', 'write_audio'),
        'spectrogram': ('istft', 'stft'),
        'mel': ('log_mel',),
        'loudness': ('integrated_loudness', 'rms', 'true_peak'),
        'soundfont': ('FontRenderer', 'find_font'),
        'separation_metrics': ('bss_eval', 'si_sdr'),
    },
)
