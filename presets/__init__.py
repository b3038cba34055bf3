"""Presets (TOML) and bundled models (.onnx), read through `genaudio_core.files.presets_dir`."""
