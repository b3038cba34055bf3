"""CLIP or CLAP through transformers as query encoder: the user's own weights, in a folder with its config.json.

Pictures are prepared here (shorter side to size, bicubic; middle; normalised), as `preprocessor_config.json` says:
transformers' own way needs torchvision, which pip would bring together with another torch.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudio_core.errors import GenaudioError
from genaudio_core.models.encoders.clip import read_picture

INPUTS = {'clip': ('text', 'image'), 'clap': ('text', 'audio')}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class FolderEncoder:
    """Text with pictures (CLIP) or recordings (CLAP) -> vectors, not normalised.

    Attributes
    ----------
    family : str
        'clip' or 'clap'.
    inputs : tuple of str
        What it takes.
    """

    def __init__(self, family: str, model: Any, tokenizer: Any, settings: dict, folder: Path):
        self.family, self.inputs = family, INPUTS[family]
        self.model, self.tokenizer, self.settings, self.folder = model.eval(), tokenizer, settings, folder

    @classmethod
    def load(cls, folder: str | Path) -> 'FolderEncoder':
        """Load from a folder as `save_pretrained` writes it; nothing is downloaded and no code in it is run.

        Raises
        ------
        GenaudioError
            If transformers is not installed, or the folder holds something else.
        """
        folder = Path(folder)
        try:
            from transformers import AutoModel, AutoTokenizer  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise GenaudioError("transformers is not installed: pip install 'genaudio[clap]'") from error
        try:
            family = json.loads((folder / 'config.json').read_text(encoding='utf-8')).get('model_type')
        except (OSError, ValueError, AttributeError):
            raise GenaudioError(f'{folder} contains no config.json of transformers.') from None
        if family not in INPUTS:
            raise GenaudioError(f"{folder} holds a model of type '{family}'; clip or clap is needed.")
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise GenaudioError(f'{folder} cannot be loaded: {reason}') from error
        file = folder / 'preprocessor_config.json'
        settings = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
        return cls(family, model, tokenizer, settings, folder)

    @staticmethod
    def _vector(output: Any) -> torch.Tensor:
        # transformers 5 wraps what 4 returned as it is.
        return getattr(output, 'pooler_output', output).float()[0]

    @torch.inference_mode()
    def text(self, words: str) -> torch.Tensor:
        """Vector (dim,) of `words`."""
        tokens = self.tokenizer([words], return_tensors='pt', truncation=True)
        wanted = {key: tokens[key] for key in ('input_ids', 'attention_mask') if key in tokens}
        return self._vector(self.model.get_text_features(**wanted))

    @torch.inference_mode()
    def image(self, path: str | Path) -> torch.Tensor:
        """Vector (dim,) of a picture.

        Raises
        ------
        GenaudioError
            If it cannot be read.
        """
        size = int(self.model.config.vision_config.image_size)
        picture = read_picture(path)
        scale = size / min(picture.size)
        picture = picture.resize([max(size, round(side * scale)) for side in picture.size], 3)  # bicubic
        left, top = ((side - size) // 2 for side in picture.size)
        pixels = np.asarray(picture.crop((left, top, left + size, top + size)), np.float32) / 255
        mean, std = self.settings.get('image_mean', CLIP_MEAN), self.settings.get('image_std', CLIP_STD)
        pixels = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        batch = torch.from_numpy(pixels.transpose(2, 0, 1))[None]
        return self._vector(self.model.get_image_features(pixel_values=batch))

    @torch.inference_mode()
    def audio(self, path: str | Path) -> torch.Tensor:
        """Vector (dim,) of a recording.

        Raises
        ------
        GenaudioError
            If it cannot be read, or the folder does not say how audio is prepared.
        """
        from transformers import ClapFeatureExtractor  # pyright: ignore[reportMissingImports]

        from genaudio_core.sound.audio_files import read_audio, to_mono

        if not self.settings:
            raise GenaudioError(f'{self.folder} contains no preprocessor_config.json: audio cannot be prepared.')
        extractor = ClapFeatureExtractor(**{k: v for k, v in self.settings.items() if not k.endswith('_type')})
        rate = int(extractor.sampling_rate)
        mono = to_mono(read_audio(path, rate))
        features = extractor(mono, sampling_rate=rate, return_tensors='pt')
        return self._vector(self.model.get_audio_features(**features))
