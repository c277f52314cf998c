"""How long TensorRT-RTX takes to build engines of a preset, without a GPU.

    python benchmarks/engine_build.py [--preset paper] [--precisions float32,float16,int8]

Prints a Markdown table: seconds of the build alone and the engine's size. The weights are random,
which changes neither.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np


def main() -> None:
    """Build and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--precisions", default="float32,float16,int8")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from cmbnet.deploy.onnx import to_float16, to_onnx
    from cmbnet.deploy.onnx_int8 import to_int8
    from cmbnet.deploy.tensorrt import CAPABILITIES, EngineRequest, build_engine
    from cmbnet.model import preset
    from cmbnet.model.unet import build_unet

    plain = to_onnx(build_unet(preset(options.preset), (384, 384, 3)))
    stacks = np.random.default_rng(0).random((1, 384, 384, 3), np.float32)
    # One by one: to fit the 8-bit weights of `paper` takes many times longer than its engine.
    files = {
        "float32": lambda: plain,
        "float16": lambda: to_float16(plain),
        "int8": lambda: to_int8(plain, stacks, symmetric=True),
    }
    print(f"preset {options.preset}, 384x384, for {', '.join(CAPABILITIES)}\n")
    print("| precision | build, s | engine, MiB |\n|---|---|---|")
    for precision in options.precisions.split(","):
        content = files[precision]()
        start = time.perf_counter()
        engine = build_engine(content, EngineRequest("rtx", precision))
        seconds = time.perf_counter() - start
        print(f"| {precision} | {seconds:.1f} | {len(engine.content) / 2**20:.0f} |", flush=True)


if __name__ == "__main__":
    main()
