"""How our components are saved: as folders of standard files."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Union

import srsly
from spacy import util
from spacy.pipeline import TrainablePipe
from thinc.api import Model

from ..errors import ClinieError
from ..models.listener import EncoderListener
from ..models.shim import TorchShim


class FolderComponent(TrainablePipe):
    """Base class of components around a model of `models.architectures`."""

    def state(self) -> dict[str, Any]:
        """What is saved beside the model: values that JSON can hold, by name."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with what `state` gave.

        state (dict[str, Any]): All of it, or a part.
        """

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Write the component as a folder.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): `model`, `vocab`, or names of `state`.
        """
        util.to_disk(
            path,
            {
                **{name: _json_writer(value) for name, value in self.state().items()},
                "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
                "model": lambda p: _write(self.model, p),
            },
            exclude,
        )

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> "FolderComponent":
        """Load what `to_disk` wrote.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): `model`, `vocab`, or names of `state`.
        RETURNS (FolderComponent): Itself.
        RAISES (ClinieError): CIE477 if a file is missing or damaged.
        """
        util.from_disk(
            path,
            {
                **{name: self._json_reader(name) for name in self.state()},
                "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),  # type: ignore[dict-item, return-value]
                "model": self._load_model,
            },
            exclude,
        )
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component as bytes.

        exclude (Iterable[str]): `model`, `vocab`, or names of `state`.
        RETURNS (bytes): For `from_bytes`.
        RAISES (ClinieError): CIE309 if a file of weights is too large for bytes.
        """
        return util.to_bytes(
            {
                **{name: partial(_as_bytes, value) for name, value in self.state().items()},
                "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
                "model": self.model.to_bytes,
            },
            exclude,
        )

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "FolderComponent":
        """Load what `to_bytes` gave.

        data (bytes): The bytes.
        exclude (Iterable[str]): `model`, `vocab`, or names of `state`.
        RETURNS (FolderComponent): Itself.
        """
        util.from_bytes(
            data,
            {
                **{name: self._bytes_reader(name) for name in self.state()},
                "vocab": lambda b: self.vocab.from_bytes(b, exclude=exclude),
                "model": self.model.from_bytes,
            },
            exclude,
        )
        return self

    def _json_reader(self, name: str) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            file = path.with_suffix(".json")
            try:
                value = srsly.read_json(file)
            except ValueError:  # srsly's where there is no file, too
                raise ClinieError("CIE477", file=file.name, component=self.name) from None
            self.load_state({name: value})

        return read

    def _bytes_reader(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.load_state({name: srsly.json_loads(data)})

    def _load_model(self, path: Path) -> None:
        try:
            _read(self.model, path)
        except ClinieError as error:
            # A base model that cannot be loaded may be what was saved here, and not one to be named otherwise.
            if error.code != "CIE303" or not Path(error.facts["name"]).is_relative_to(path):
                raise
            raise ClinieError("CIE477", file=path.name, component=self.name) from error
        except RuntimeError:  # of the device, such as too little memory
            raise
        except Exception as error:  # a damaged file can raise anything
            file = Path(getattr(error, "filename", None) or path).name
            raise ClinieError("CIE477", file=file, component=self.name) from error


def _write(model: Model, path: Path) -> None:
    """Write a model as a folder: its torch module in `torch`, what it stands on in `tok2vec`."""
    if not any(isinstance(shim, TorchShim) for shim in model.shims):
        model.to_disk(path)
        return
    model.shims[0].to_disk(path / "torch")
    for layer in _saved(model):
        _write(layer, path / "tok2vec")


def _read(model: Model, path: Path) -> None:
    """Load what `_write` wrote."""
    if not any(isinstance(shim, TorchShim) for shim in model.shims):
        model.from_disk(path)
        return
    for layer in _saved(model):
        _read(layer, path / "tok2vec")
    model.shims[0].from_disk(path / "torch")


def _saved(model: Model) -> list[Model]:
    """What a model stands on, unless that is saved elsewhere."""
    return [layer for layer in model.layers if not isinstance(layer, EncoderListener)]


def _json_writer(value: Any) -> Callable[[Path], None]:
    return lambda path: srsly.write_json(path.with_suffix(".json"), value)


def _as_bytes(value: Any) -> bytes:
    return srsly.json_dumps(value).encode("utf8")
