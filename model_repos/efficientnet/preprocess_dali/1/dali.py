"""The preprocessing pipeline: decode, resize, crop and normalise. One file for two backends.

Triton's DALI backend loads it as it stands and runs it on the GPU, where the decoder is `mixed`: partly the hardware
JPEG engine. `model.py` beside it calls `preprocess` with `decoder="cpu"` and no device.
"""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]


@autoserialize
@pipeline_def(batch_size=64, num_threads=4, device_id=0)
def preprocess(decoder="mixed", hw_decoder_load=0.8, image_size=224):
    """`hw_decoder_load`: share of the images that the hardware engine of a `mixed` decoder gets."""
    encoded = fn.external_source(device="cpu", name="INPUT", dtype=types.UINT8, ndim=1)
    hardware = {"hw_decoder_load": hw_decoder_load} if decoder == "mixed" else {}
    images = fn.decoders.image(encoded, device=decoder, output_type=types.RGB, **hardware)
    images = fn.resize(images, resize_x=image_size, resize_y=image_size)
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout="CHW",
        crop=(image_size, image_size),
        mean=MEAN,
        std=STD,
        name="PIXELS",
    )
