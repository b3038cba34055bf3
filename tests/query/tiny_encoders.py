"""What a user's own CLIP and CLAP look like: folders of transformers, here tiny and random."""

import json
from pathlib import Path

import pytest

DIM = 12


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {c: i for i, c in enumerate(['<pad>', '<unk>', '<eos>', *'abcdefghijklmnopqrstuvwxyz -'])}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Split('', 'isolated')
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token='<pad>', unk_token='<unk>', eos_token='<eos>', model_max_length=32
    )
    wrapped.save_pretrained(folder)


def tiny_clip(folder: Path) -> Path:
    torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
    small = {'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2}
    config = transformers.CLIPConfig(
        text_config={**small, 'vocab_size': 40, 'max_position_embeddings': 32, 'eos_token_id': 2},
        vision_config={**small, 'image_size': 32, 'patch_size': 16}, projection_dim=DIM,
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.CLIPModel(config)
    for parameter in model.parameters():  # as they are initialised, all words would be nearly alike
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    _tokenizer(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps({'image_mean': [0.5] * 3, 'image_std': [0.25] * 3}))
    return folder


def tiny_clap(folder: Path) -> Path:
    torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
    config = transformers.ClapConfig(
        text_config={'vocab_size': 40, 'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 1,
                     'num_attention_heads': 2, 'max_position_embeddings': 40, 'pad_token_id': 0},
        audio_config={'spec_size': 64, 'num_mel_bins': 16, 'window_size': 2, 'hidden_size': 32, 'depths': [1, 1],
                      'num_attention_heads': [2, 2], 'patch_embeds_hidden_size': 16, 'patch_size': 2,
                      'patch_stride': [2, 2], 'num_hidden_layers': 2, 'enable_fusion': False},
        projection_dim=DIM,
    )  # fmt: skip
    torch.manual_seed(2)
    transformers.ClapModel(config).save_pretrained(folder)
    _tokenizer(folder)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16000, hop_length=256, max_length_s=1, fft_window_size=1024, frequency_max=8000,
        truncation='rand_trunc', padding='repeatpad',
    )  # fmt: skip
    extractor.save_pretrained(folder)
    return folder
