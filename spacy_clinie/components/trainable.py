"""What our trainable components share: a schema that travels with them, saving by folders, training."""

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from ..doc.concepts import SCHEMA_KEY, is_partly_annotated
from ..doc.interchange import note_from_doc
from ..doc.relations import register_extension
from ..errors import ClinieError, warn
from ..models.shim import TorchShim
from ..schema import Schema


class ClinieComponent(TrainablePipe):
    """Base class of the components around a model of `models.architectures`.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model.
    name (str): Name of the component in the pipeline.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RAISES (ClinieError): CIE465 if the model does another task.
    """

    # What `models.architectures` says that a model finds.
    finds: str

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        label_schema: Optional[Union[str, Path]],
        scorer: Optional[Callable],
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self._schema_name = label_schema
        self.schema: Optional[Schema] = None
        # What `initialize` made of training data, and makes anew of others.
        self._draft: Optional[Schema] = None
        # Those that Docs name, by that name; and those names that were looked up since it was loaded.
        self.schemas: dict[str, Schema] = {}
        self._looked_up: set[str] = set()
        # `spacy find-threshold` writes what it tries not only to the config, but here as well.
        self.cfg: dict[str, Any] = {"model": {}, "concepts": {}}
        # Whether `use` has settled the schema.
        self._chosen = False
        # Whether it was told of all training data what of them cannot be learnt.
        self._told = False
        if label_schema:
            # A trained component carries its own, and must load where there is no such file: `initialize` raises.
            with suppress(ClinieError):
                self.schema = Schema.load(label_schema)
        if model.attrs.get("finds") != self.finds:
            raise ClinieError("CIE465", component=name, finds=self.finds, model=model.name)
        register_extension()

    @property
    def label_data(self) -> Optional[dict[str, Any]]:
        """The schema as `spacy init labels` saves it."""
        return self.schema.to_dict() if self.schema else None

    def facts(self) -> dict[str, Any]:
        """What is saved beside the model: values that JSON can hold, by name."""
        named = {name: schema.to_dict() for name, schema in self.schemas.items()}
        return {"schema": self.label_data, "schemas": named}

    def take_facts(self, facts: dict[str, Any]) -> None:
        """Go on with what `facts` gave.

        facts (dict[str, Any]): All of it, or a part.
        """
        if "schema" in facts:
            record = facts["schema"]
            self.schema = Schema.from_dict(record, source=self.name) if record else None
        if "schemas" in facts:
            self.schemas = {name: Schema.from_dict(record, source=name) for name, record in facts["schemas"].items()}
            self._looked_up = set()

    def schema_of(self, doc: Doc) -> Schema:
        """The schema that a Doc is to be read with: the one that it names, or else the component's.

        doc (Doc): The Doc.
        RETURNS (Schema): The schema.
        RAISES (ClinieError): CIE461 if there is none; CIE101 to CIE109 for one that the Doc names, CIE471 if that is no
            name.
        """
        name = doc.user_data.get(SCHEMA_KEY)
        if name is not None and name != "":
            if not isinstance(name, (str, Path)):
                raise ClinieError("CIE471", key=SCHEMA_KEY, kind=type(name).__name__)
            name = str(name)
            if name not in self._looked_up:
                self.schemas[name] = self._look_up(name)
            self._looked_up.add(name)
            return self.schemas[name]
        if self.schema is None:
            raise ClinieError("CIE461", component=self.name)
        return self.schema

    def _look_up(self, name: str) -> Schema:
        """A schema by its name or file. What was saved with the component serves where there is no such file, be it
        named as it was there or by what it calls itself; a file that is there may be another."""
        if name in self.schemas and not Path(name).is_file():
            return self.schemas[name]
        try:
            return Schema.load(name)
        except ClinieError:
            saved = [schema for schema in (self.schema, *self.schemas.values()) if schema and schema.name == name]
            if not saved:
                raise
            return saved[0]

    def use(self, schema: Schema) -> None:
        """Look for the types of another schema from now on.

        schema (Schema): The schema.
        RAISES (ClinieError): CIE315 if the model can only find types that it was trained on, CIE325 if a
            prompt for them does not fit into it.
        """
        held, self.schema = self.schema, schema
        try:
            self.predict([Doc(self.vocab, words=["a"])])
        except ClinieError:
            self.schema = held
            raise
        self._chosen = True

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,  # noqa: ARG002
        labels: Optional[dict[str, Any]] = None,
    ) -> None:
        """Settle the schema and load the base model's weights.

        get_examples (Callable[[], Iterable[Example]]): Gives training examples; asked for the types if there is
            no schema.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[dict[str, Any]]): A schema as `label_data` gives it.
        RAISES (ClinieError): CIE101 to CIE109 for the schema, CIE461 if there are no types, CIE463 if the data have
            others than the schema, or what `load_encoder` raises.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        examples = list(get_examples())
        self._looked_up = set()
        self.settle(examples, labels)
        self.model.initialize(X=[example.predicted for example in examples[:10]])

    def settle(self, examples: list[Example], labels: Optional[dict[str, Any]] = None) -> None:
        """Settle the schema, without the model.

        examples (list[Example]): Training examples.
        labels (Optional[dict[str, Any]]): A schema as `label_data` gives it.
        RAISES (ClinieError): See `initialize`.
        """
        if labels is not None:
            self.schema = Schema.from_dict(labels, source="labels")
        elif self._schema_name and not self._chosen:
            self.schema = self._read_again(self._schema_name)
        elif self.schema is None or self.schema is self._draft:
            self.schema = self._draft = self._drafted([example.reference for example in examples])
        if not self.labels:
            raise ClinieError("CIE461", component=self.name)
        self.check(examples)
        self.tell_unlearnable(examples)
        self._told = True
        self.model.attrs["schema"] = self.schema.to_dict()

    def _drafted(self, docs: list[Doc]) -> Schema:
        """All types of training data: of the schemas that Docs name, and of the concepts of the others."""
        named = {doc.user_data[SCHEMA_KEY]: self.schema_of(doc) for doc in docs if doc.user_data.get(SCHEMA_KEY)}
        others = [note_from_doc(doc) for doc in docs if not doc.user_data.get(SCHEMA_KEY)]
        annotated = any(note.concepts for note in others)
        drafts = [Schema.draft(others, name=self.name).without_descriptions()] if annotated else []
        if not named and not drafts:
            raise ClinieError("CIE461", component=self.name)
        return Schema.union([*named.values(), *drafts], name=self.name)

    def _read_again(self, name: Union[str, Path]) -> Schema:
        """Read the schema once more: whoever initializes may have edited it. One that is gone stays as it was."""
        try:
            return Schema.load(name)
        except ClinieError:
            if self.schema is None or Path(name).exists():
                raise
            return self.schema

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[dict[str, float]] = None,
    ) -> dict[str, float]:
        """Learn from a batch.

        examples (Iterable[Example]): The batch.
        drop (float): Rate of every dropout (`training.dropout`), see `TorchShim.set_dropout`.
        sgd (Optional[Optimizer]): Takes a step if given; otherwise gradients add up until `finish_update`.
        losses (Optional[dict[str, float]]): Updated under the component's name.
        RETURNS (dict[str, float]): `losses`.
        RAISES (ClinieError): CIE463 for types that the schema does not have, CIE450 if the training has diverged.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        annotated = self.only_annotated([example for example in examples if len(example.predicted)])
        # A `tok2vec` that components share has read all of the batch, and wants the gradient of all.
        examples = examples if self.model.layers else annotated
        if not examples:
            return losses
        if not self._told:  # it was loaded, and goes on learning without being initialized
            self.tell_unlearnable(annotated)
        set_dropout_rate(self.model, drop)
        loss = self.add_gradients(examples)
        if not math.isfinite(loss):
            raise ClinieError("CIE450", component=self.name, loss=loss)
        if sgd not in (None, False):
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def add_gradients(self, examples: list[Example]) -> float:
        """Add the gradients of a batch to those of the weights.

        examples (list[Example]): The batch.
        RETURNS (float): The loss. Nothing is added if it is no finite number.
        """
        scores, backprop = self.model.begin_update(self.inputs(examples))
        with np.errstate(invalid="ignore", over="ignore"):  # of a training that diverges, which `update` tells
            loss, gradients = self.get_loss(examples, scores)
        if math.isfinite(loss):
            backprop(gradients)
        return loss

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score examples; symmetric relations count whichever end they begin at. A warning tells if nobody annotated
        any of them (CIE451).

        examples (Iterable[Example]): Examples with predictions.
        RETURNS (dict[str, Any]): Scores.
        """
        examples = list(examples)
        if examples and not any(self.is_annotated(example.reference) for example in examples):
            warn("CIE451", component=self.name, count=len(examples))
        return dict(super().score(examples, symmetric=self.symmetric, **kwargs))

    @property
    def symmetric(self) -> set[str]:
        """Types of relations that are the same whichever end they begin at."""
        schemas = [*self.schemas.values(), *([self.schema] if self.schema else [])]
        return {one.name for schema in schemas for one in schema.relations.values() if one.symmetric}

    def only_annotated(self, examples: list[Example]) -> list[Example]:
        """Examples that can be learnt from; a warning (CIE474) tells of others."""
        annotated = [example for example in examples if self.is_annotated(example.reference)]
        if len(annotated) < len(examples):
            warn("CIE474", component=self.name, count=len(examples) - len(annotated))
        return annotated

    def is_annotated(self, gold: Doc) -> bool:
        """Whether a Doc says what is to be learnt from it: that there is nothing, or that nobody has looked, are two
        things.

        gold (Doc): The Doc.
        RETURNS (bool): False if it cannot be learnt from.
        """
        raise NotImplementedError

    def check(self, examples: list[Example]) -> None:
        """Raise for training data that cannot be learnt from, before hours of work.

        examples (list[Example]): All of them.
        RAISES (ClinieError): CIE463 for types that the schema does not have.
        """
        raise NotImplementedError

    def tell_unlearnable(self, examples: list[Example]) -> None:
        """Warn of what training data hold and the component cannot learn.

        examples (list[Example]): All of them, or a batch.
        """
        if partly := sum(is_partly_annotated(example.reference) for example in examples):
            warn("CIE485", component=self.name, count=partly)

    def refuse_unknown(self, labels: Iterable[str], known: Iterable[str], code: str = "CIE463", **facts: Any) -> None:
        """Raise if there are labels that a schema does not have.

        labels (Iterable[str]): Labels of training data.
        known (Iterable[str]): Those of the schema.
        code (str): What to raise.
        **facts (Any): What fills its message further.
        RAISES (ClinieError): CIE463, or another one.
        """
        unknown = sorted(set(labels) - set(known))
        if unknown:
            raise ClinieError(code, component=self.name, types=", ".join(unknown), **facts)

    @property
    def module(self) -> Any:
        """The torch module of the model.

        RAISES (ClinieError): CIE308 if there is none yet.
        """
        return cast(TorchShim, self.model.shims[0]).module

    def inputs(self, examples: list[Example]) -> list[Any]:
        """What the model reads in training. Where it cannot be asked everything, what it is asked is drawn here, with a
        view to what is right.

        examples (list[Example]): The batch.
        RETURNS (list[Any]): The inputs.
        RAISES (ClinieError): CIE463 for types that the schema does not have.
        """
        raise NotImplementedError

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        """The loss of a batch, and its gradient.

        examples (Iterable[Example]): The batch.
        scores (Any): What the model made of `inputs(examples)`.
        RETURNS (tuple[float, Any]): The loss, and a gradient like `scores`.
        """
        raise NotImplementedError

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Write the component as a folder.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): `model`, `vocab`, or names of `facts`.
        """
        util.to_disk(
            path,
            {
                **{name: _json_writer(fact) for name, fact in self.facts().items()},
                "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
                "model": self._save_model,
            },
            exclude,
        )

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> "ClinieComponent":
        """Load what `to_disk` wrote.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): `model`, `vocab`, or names of `facts`.
        RETURNS (ClinieComponent): Itself.
        RAISES (ClinieError): CIE477 if a file is missing or damaged.
        """
        util.from_disk(
            path,
            {
                **{name: self._json_reader(name) for name in self.facts()},
                "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),  # type: ignore[dict-item, return-value]
                "model": self._load_model,
            },
            exclude,
        )
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component as bytes.

        exclude (Iterable[str]): `model`, `vocab`, or names of `facts`.
        RETURNS (bytes): For `from_bytes`.
        RAISES (ClinieError): CIE309 if a file of weights is too large for bytes.
        """
        return util.to_bytes(
            {
                **{name: partial(_as_bytes, fact) for name, fact in self.facts().items()},
                "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
                "model": self.model.to_bytes,
            },
            exclude,
        )

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "ClinieComponent":
        """Load what `to_bytes` gave.

        data (bytes): The bytes.
        exclude (Iterable[str]): `model`, `vocab`, or names of `facts`.
        RETURNS (ClinieComponent): Itself.
        """
        util.from_bytes(
            data,
            {
                **{name: self._bytes_reader(name) for name in self.facts()},
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
                fact = srsly.read_json(file)
            except ValueError:  # srsly's where there is no file, too
                raise ClinieError("CIE477", file=file.name, component=self.name) from None
            self.take_facts({name: fact})

        return read

    def _bytes_reader(self, name: str) -> Callable[[bytes], None]:
        return lambda data: self.take_facts({name: srsly.json_loads(data)})

    def _save_model(self, path: Path) -> None:
        self.model.shims[0].to_disk(path / "torch")
        for layer in self.model.layers:
            layer.to_disk(path / "tok2vec")

    def _load_model(self, path: Path) -> None:
        try:
            for layer in self.model.layers:
                layer.from_disk(path / "tok2vec")
            self.model.shims[0].from_disk(path / "torch")
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


def _json_writer(fact: Any) -> Callable[[Path], None]:
    return lambda path: srsly.write_json(path.with_suffix(".json"), fact)


def _as_bytes(fact: Any) -> bytes:
    return srsly.json_dumps(fact).encode("utf8")
