"""Graphs of ONNX: built by hand or through torch, pruned, quantised."""
