"""CLIP through open_clip as query encoder, with the user's own weights in one file. Nothing is downloaded."""

from pathlib import Path

import torch

from genaudio_core.errors import GenaudioError

# evaluate.py of the authors averages over these; one of theirs stands twice, so it weighs double.
TEMPLATES = ('a photo of {}', 'a photo of the {}', 'a photo of one {}', 'a photo of {}', 'a picture of {}')


class ClipEncoder:
    """Text and pictures -> CLIP vectors, not normalised.

    Attributes
    ----------
    family : str
    inputs : tuple of str
        What it takes.
    """

    family, inputs = 'clip', ('text', 'image')

    def __init__(self, model, preprocess, tokenizer):
        self.model, self.preprocess, self.tokenizer = model.eval(), preprocess, tokenizer

    @classmethod
    def load(cls, model_name: str = 'ViT-B-32', weights: str | Path = 'random') -> 'ClipEncoder':
        """Load an open_clip model with weights from a file ('random', for tests, needs none).

        Raises
        ------
        GenaudioError
            If open_clip is not installed, or the file is missing or of another model.
        """
        try:
            import open_clip  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise GenaudioError("CLIP is not installed: pip install 'genaudio[clip]'") from error
        if model_name not in open_clip.list_models():
            raise GenaudioError(f"open_clip knows no model '{model_name}'.")
        pretrained = None
        if str(weights) != 'random':
            if not Path(weights).is_file():
                raise GenaudioError(f'There is no file of CLIP weights {weights}.')
            pretrained = str(weights)
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(
                model_name, pretrained=pretrained, load_weights=pretrained is not None
            )
        except Exception as error:  # torch and open_clip raise many kinds
            raise GenaudioError(f'{weights} are not weights of {model_name}.') from error
        return cls(model, preprocess, open_clip.get_tokenizer(model_name))

    @torch.inference_mode()
    def text(self, words: str, *, ensemble: bool = False) -> torch.Tensor:
        """Vector (dim,) of `words`, as they are or averaged over the templates."""
        phrases = [t.format(words) for t in TEMPLATES] if ensemble else [words]
        return self.model.encode_text(self.tokenizer(phrases)).float().mean(dim=0)

    @torch.inference_mode()
    def image(self, path: str | Path) -> torch.Tensor:
        """Vector (dim,) of a picture.

        Raises
        ------
        GenaudioError
            If it cannot be read.
        """
        pixels = self.preprocess(read_picture(path))
        return self.model.encode_image(pixels[None]).float()[0]


def read_picture(path: str | Path):
    """Return a picture (PIL, RGB).

    Raises
    ------
    GenaudioError
        If it is missing or cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert('RGB')
    except FileNotFoundError:
        raise GenaudioError(f'There is no picture {path}.') from None
    except Exception as error:  # PIL raises many kinds for broken files
        raise GenaudioError(f'{path} is not a picture that can be read.') from error
