"""Builds and runs TensorRT engines with nothing but the standard library and the TensorRT of the image that serves."""
