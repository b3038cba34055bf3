"""Encoders of the user's own (CLIP, CLAP, folders of transformers), in a process of their own."""
