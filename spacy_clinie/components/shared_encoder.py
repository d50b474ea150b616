"""`clinie_encoder`: vectors of tokens, once for all components that listen."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from spacy.language import Language
from spacy.pipeline import Tok2Vec
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.util import to_numpy

from ..models.listener import MARKS_UNREAD, EncoderListener
from .saving import FolderComponent

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.Encoder.v1"
"""


@Language.factory(
    "clinie_encoder", assigns=["doc.tensor"], default_config={"model": Config().from_str(DEFAULT_CONFIG)["model"]}
)
def make_encoder(nlp: Language, name: str, model: Model) -> "SharedEncoder":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component in the pipeline.
    model (Model): Docs to vectors of tokens, see `models.architectures.token_encoder`.
    RETURNS (SharedEncoder): The component.
    """
    return SharedEncoder(nlp.vocab, model, name)


class _Batch:
    """A batch that the encoder has read in training, and the gradients that its listeners give back.

    backprop (Callable): Takes the sum of the gradients.
    gradients (list[np.ndarray]): The sum so far, an array for each Doc.
    missing (int): How many listeners have given none yet.
    """

    def __init__(self, backprop: Callable, gradients: list[Any], missing: int) -> None:
        self.backprop, self.gradients, self.missing = backprop, gradients, missing
        self.begun = False
        # Takes the step, where it was due before any gradient came.
        self.sgd: Optional[Optimizer] = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the component does not go on with the batch."""
        return type(None), ()


class SharedEncoder(FolderComponent, Tok2Vec):
    """Writes vectors of tokens to `doc.tensor`, for the components whose models have a `spacy_clinie.EncoderListener`.
    It learns from all that listen together."""

    def __init__(self, vocab: Any, model: Model, name: str) -> None:
        super().__init__(vocab, model, name)
        self._batch: Optional[_Batch] = None
        # Whether the weights have gradients that no step has taken yet.
        self._has_gradients = False
        model.attrs[MARKS_UNREAD] = True

    def add_listener(self, listener: Tok2VecListener, component_name: str) -> None:
        super().add_listener(listener, component_name)
        self._link(listener)

    def remove_listener(self, listener: Tok2VecListener, component_name: str) -> bool:
        if isinstance(listener, EncoderListener):
            listener.link.upstream = None
        return bool(super().remove_listener(listener, component_name))

    def find_listeners(self, component: Any) -> None:
        """Link the listeners of a component. Those of spaCy that listen to whatever comes ("*") belong to others.

        component (Any): A component further down in the pipeline.
        """
        if isinstance(getattr(component, "model", None), Model):
            for node in component.model.walk():
                if isinstance(node, Tok2VecListener) and node.upstream_name == self.name:
                    self.add_listener(node, component.name)

    def predict(self, docs: Iterable[Doc]) -> list[Any]:
        """Compute vectors without changing the Docs.

        docs (Iterable[Doc]): The Docs.
        RETURNS (list[Floats2d]): Vectors of the tokens of each, shape (tokens, width).
        RAISES (ClinieError): CIE308 if there is no encoder yet.
        """
        self._end_begun()
        return [self.model.ops.asarray(rows) for rows in self.model.predict(list(docs))]

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[dict[str, float]] = None,
    ) -> dict[str, float]:
        """Hand the vectors of a batch to all listeners. Gradients go back through the encoder once, when all listeners
        have given theirs. A component that is frozen gives none: then they go back as soon as the encoder is asked for
        anything else, be it a step, the next batch, vectors, or its weights.

        examples (Iterable[Example]): The batch.
        drop (float): Rate of every dropout (`training.dropout`), see `TorchShim.set_dropout`.
        sgd (Optional[Optimizer]): Takes a step when the gradients have come.
        losses (Optional[dict[str, float]]): Under the component's name, the squared gradients of the vectors add up, as
            with spaCy's `tok2vec`.
        RETURNS (dict[str, float]): `losses`.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "SharedEncoder.update")
        self._end()
        docs = [example.predicted for example in examples]
        if not self.listeners or not any(map(len, docs)):
            return losses
        set_dropout_rate(self.model, drop)
        vectors, backprop = self.model.begin_update(docs)
        self._batch = _Batch(backprop, [np.zeros_like(rows) for rows in vectors], len(self.listeners))
        self._batch.sgd = sgd or None
        for listener in self.listeners:
            given = vectors if listener.attrs.get(MARKS_UNREAD) else [np.nan_to_num(rows) for rows in vectors]
            given = [listener.ops.asarray(rows) for rows in given]
            listener.receive(Tok2VecListener.get_batch_id(docs), given, partial(self._add, self._batch, losses))
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Take a step. `nlp.update` asks for it before the listeners have given their gradients: then it is taken when
        the batch ends.

        sgd (Optimizer): The optimizer.
        """
        if self._batch is not None and not self._batch.begun and not self._has_gradients:
            self._batch.sgd = sgd
            return
        self._end()
        self._step(sgd)

    def use_params(self, params: Any) -> Iterator[None]:
        """Compute with other weights for a while. As with spaCy's components, this is a generator.

        params (Any): Weights, such as an optimizer's averages.
        """
        self._end_begun()
        with self.model.use_params(params):
            yield

    def initialize(self, get_examples: Callable[[], Iterable[Example]], *, nlp: Optional[Language] = None) -> None:
        """Load the base model's weights.

        get_examples (Callable[[], Iterable[Example]]): Gives training examples.
        nlp (Optional[Language]): The pipeline.
        RAISES (ClinieError): What `load_encoder` raises.
        """
        self._discard()
        super().initialize(get_examples, nlp=nlp)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        self._end_begun()
        super().to_disk(path, exclude=exclude)

    def from_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> "SharedEncoder":
        self._discard()
        super().from_disk(path, exclude=exclude)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        self._end_begun()
        return super().to_bytes(exclude=exclude)

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "SharedEncoder":
        self._discard()
        super().from_bytes(data, exclude=exclude)
        return self

    def _link(self, listener: Any) -> None:
        if isinstance(listener, EncoderListener):
            listener.link.upstream = weakref.ref(self)

    def _add(self, batch: _Batch, losses: dict[str, float], gradients: list[Any]) -> list:
        arrays = [to_numpy(rows) for rows in gradients]
        batch.gradients = [own + more for own, more in zip(batch.gradients, arrays, strict=True)]
        losses[self.name] += sum(float((more**2).sum()) for more in arrays)
        batch.begun = True
        batch.missing -= 1
        if not batch.missing and batch is self._batch:
            self._end()
        return []

    def _end_begun(self) -> None:
        """End a batch whose gradients will not all come."""
        if self._batch is not None and self._batch.begun:
            self._end()

    def _end(self) -> None:
        """End the batch: the gradients that came go back, a step that is due is taken."""
        batch = self._batch
        self._discard()
        if batch is not None and batch.begun:
            batch.backprop(batch.gradients)
            self._has_gradients = True
        if batch is not None and batch.sgd is not None and self._has_gradients:
            self._step(batch.sgd)

    def _step(self, sgd: Optimizer) -> None:
        self.model.finish_update(sgd)
        self._has_gradients = False

    def _discard(self) -> None:
        """Forget the batch, here and where it was received."""
        self._batch = None
        for listener in self.listeners:
            listener.receive(None, [], None)  # type: ignore[arg-type]
