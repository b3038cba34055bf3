"""Torch in, .onnx out: exporters, parity checks, quantisation, batches over a manifest."""
