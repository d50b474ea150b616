"""What our trainable components share: a schema that travels with them, saving by folders, training."""

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
from spacy.language import Language
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
from .saving import FolderComponent


class ClinieComponent(FolderComponent):
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
        self._warned = False
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

    def state(self) -> dict[str, Any]:
        named = {name: schema.to_dict() for name, schema in self.schemas.items()}
        return {"schema": self.label_data, "schemas": named}

    def load_state(self, state: dict[str, Any]) -> None:
        if "schema" in state:
            record = state["schema"]
            self.schema = Schema.from_dict(record, source=self.name) if record else None
        if "schemas" in state:
            self.schemas = {name: Schema.from_dict(record, source=name) for name, record in state["schemas"].items()}
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
            self.predict([Doc(self.vocab, words=[] if self.listens else ["a"])])
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
        self.initialize_labels(examples, labels)
        self.model.initialize(X=[example.predicted for example in examples[:10]])

    def initialize_labels(self, examples: list[Example], labels: Optional[dict[str, Any]] = None) -> None:
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
        self.warn_unlearnable(examples)
        self._warned = True
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
        # An encoder that components share has read all of the batch, and wants the gradient of all.
        examples = examples if self.listens else annotated
        if not examples:
            return losses
        if not self._warned:  # it was loaded, and goes on learning without being initialized
            self.warn_unlearnable(annotated)
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

    def warn_unlearnable(self, examples: list[Example]) -> None:
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
    def listens(self) -> bool:
        """Whether the model reads vectors of an encoder that components share."""
        return any(hasattr(node, "upstream_name") for node in self.model.walk())

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
