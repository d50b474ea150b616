"""`clinie_encoder`: vectors of tokens, once for all components that listen."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Optional

from spacy.language import Language
from spacy.pipeline import Tok2Vec
from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from thinc.api import Config, Model, Optimizer, set_dropout_rate

from ..models.listener import EncoderListener
from .saving import FolderComponent

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.Encoder.v1"
"""


@Language.factory(
    "clinie_encoder", assigns=["doc.tensor"], default_config={"model": Config().from_str(DEFAULT_CONFIG)["model"]}
)
def make_encoder(nlp: Language, name: str, model: Model) -> "Encoder":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component in the pipeline.
    model (Model): Docs to vectors of tokens, see `models.architectures.encoder`.
    RETURNS (Encoder): The component.
    """
    return Encoder(nlp.vocab, model, name)


class _Batch:
    """A batch that the encoder has read in training, and the gradients that its listeners give back.

    backprop (Callable): Takes the sum of the gradients.
    gradients (list[Floats2d]): The sum so far, an array for each Doc.
    missing (int): How many listeners have given none yet.
    """

    def __init__(self, backprop: Callable, gradients: list[Any], missing: int) -> None:
        self.backprop, self.gradients, self.missing = backprop, gradients, missing
        self.begun = False
        # Takes the step, where it was due before any gradient came.
        self.sgd: Optional[Optimizer] = None


class Encoder(FolderComponent, Tok2Vec):
    """Writes vectors of tokens to `doc.tensor`, for the components whose models have a `spacy_clinie.EncoderListener`.
    It learns from all that listen together."""

    def __init__(self, vocab: Any, model: Model, name: str) -> None:
        super().__init__(vocab, model, name)
        self._batch: Optional[_Batch] = None

    def add_listener(self, listener: Tok2VecListener, component_name: str) -> None:
        super().add_listener(listener, component_name)
        if isinstance(listener, EncoderListener):
            listener.upstream = self.model

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
        RETURNS (list[np.ndarray]): Vectors of the tokens of each, shape (tokens, width).
        RAISES (ClinieError): CIE308 if there is no encoder yet.
        """
        return list(self.model.predict(list(docs)))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[dict[str, float]] = None,
    ) -> dict[str, float]:
        """Hand the vectors of a batch to all listeners. Gradients go back through the encoder once, when all listeners
        have given theirs, or else when the batch is over: a listener whose component is frozen gives none.

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
        validate_examples(examples, "Encoder.update")
        self._go_back()
        if not self.listeners or not examples:
            return losses
        docs = [example.predicted for example in examples]
        set_dropout_rate(self.model, drop)
        vectors, backprop = self.model.begin_update(docs)
        zeros = [self.model.ops.alloc2f(*rows.shape) for rows in vectors]
        self._batch = _Batch(backprop, zeros, len(self.listeners))
        self._batch.sgd = sgd or None
        for listener in self.listeners:
            listener.receive(Tok2VecListener.get_batch_id(docs), vectors, partial(self._add, self._batch, losses))
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Take a step. `nlp.update` asks for it before the listeners have given their gradients: then it is taken as
        soon as they have.

        sgd (Optimizer): The optimizer.
        """
        if self._batch is not None and not self._batch.begun:
            self._batch.sgd = sgd
            return
        self._go_back()
        self.model.finish_update(sgd)

    def _add(self, batch: _Batch, losses: dict[str, float], gradients: list[Any]) -> list:
        batch.gradients = [own + more for own, more in zip(batch.gradients, gradients, strict=True)]
        losses[self.name] += sum(float((more**2).sum()) for more in gradients)
        batch.begun = True
        batch.missing -= 1
        if not batch.missing and batch is self._batch:
            self._go_back()
        return []

    def _go_back(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None and batch.begun:
            batch.backprop(batch.gradients)
            if batch.sgd is not None:
                self.model.finish_update(batch.sgd)
