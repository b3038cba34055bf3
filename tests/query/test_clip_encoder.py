import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip('torch')
from PIL import Image  # noqa: E402

from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.encoders.clip import TEMPLATES, ClipEncoder  # noqa: E402


class TinyClip(torch.nn.Module):
    """Random, and as small as a CLIP can be: pixels and characters into 8 numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.letters = torch.nn.Embedding(128, 8)
        self.pixels = torch.nn.Linear(3, 8)

    def encode_text(self, tokens):
        return self.letters(tokens).mean(dim=1) * 5

    def encode_image(self, images):
        return self.pixels(images.mean(dim=(2, 3))) * 5


def encoder():
    def preprocess(picture):
        return torch.from_numpy(np.asarray(picture.resize((4, 4)), np.float32).transpose(2, 0, 1) / 255)

    def tokenizer(phrases):
        return torch.tensor([[ord(c) % 128 for c in p.ljust(40)[:40]] for p in phrases])

    return ClipEncoder(TinyClip(), preprocess, tokenizer)


def test_vectors_are_not_normalised():
    """CLIPSep was trained on CLIP vectors as they come; at length one its query layer would see other numbers."""
    clip = encoder()
    assert_allclose(clip.text('violin'), clip.model.encode_text(clip.tokenizer(['violin']))[0].detach(), atol=1e-6)
    assert abs(float(clip.text('violin').norm()) - 1) > 0.1


def test_ensemble_is_the_mean_over_the_templates():
    clip = encoder()
    mean = torch.stack([clip.text(t.format('dog')) for t in TEMPLATES]).mean(dim=0)
    assert len(TEMPLATES) == 5
    assert_allclose(clip.text('dog', ensemble=True), mean, atol=1e-5)


def test_pictures(tmp_path):
    Image.new('RGB', (9, 7), (255, 0, 0)).save(tmp_path / 'red.png')
    Image.new('L', (9, 7), 0).save(tmp_path / 'black.png')
    clip = encoder()
    red, black = clip.image(tmp_path / 'red.png'), clip.image(tmp_path / 'black.png')
    assert red.shape == (8,) and not torch.allclose(red, black)


def test_bad_pictures_and_weights_in_one_line(tmp_path):
    (tmp_path / 'words.png').write_text('no picture')
    for path, what in ((tmp_path / 'missing.png', 'no picture'), (tmp_path / 'words.png', 'is not a picture')):
        with pytest.raises(GenaudioError, match=what):
            encoder().image(path)
    with pytest.raises(GenaudioError, match=r'genaudio\[clip\]|no file of CLIP weights'):
        ClipEncoder.load('ViT-B-32', tmp_path / 'missing.pt')
