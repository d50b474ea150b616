"""The layer with which a head reads the vectors of a shared encoder."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Optional

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model

from ..errors import ClinieError

# An attribute of layers whose head can tell tokens that a step of training does not read: it gets NaN for them. Any
# other head gets zeros, as for tokens without word pieces.
MARKS_UNREAD = "marks_unread"


class Link:
    """What a listener knows of the encoder. Copies of it know nothing: they are linked anew.

    upstream (Optional[weakref.ref]): The component, once the pipeline is linked.
    received (Optional[tuple[int, Any, Callable]]): The batch that it handed over, and that was not taken yet.
    """

    def __init__(self) -> None:
        self.upstream: Optional[weakref.ref[Any]] = None
        self.received: Optional[tuple[int, Any, Callable]] = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Link, ()


class EncoderListener(Tok2VecListener):
    """Docs to what an encoder further up in the pipeline made of them: in training what it hands over with each batch,
    otherwise `doc.tensor`. As spaCy's own listener, but it takes its width from the encoder, and Docs without
    vectors do not become Docs of zeros.

    upstream_name (str): Name of the component that it listens to.
    grad_factor (float): What the gradients of the vectors are multiplied by on their way to the encoder.
    """

    name = "clinie_encoder_listener"

    def __init__(self, upstream_name: str, grad_factor: float) -> None:
        Model.__init__(self, name=self.name, forward=_forward, init=_init, dims={"nO": None})
        self.upstream_name, self.grad_factor = upstream_name, grad_factor
        self.link = Link()

    def receive(self, batch_id: Optional[int], outputs: Any, backprop: Optional[Callable]) -> None:
        """Take the vectors of a batch.

        batch_id (Optional[int]): From `get_batch_id`; None when the batch is over.
        outputs (list[Floats2d]): Vectors of the tokens of each Doc, shape (tokens, width).
        backprop (Optional[Callable]): Takes their gradients.
        """
        self.link.received = None if batch_id is None or backprop is None else (batch_id, outputs, backprop)

    def take(self, docs: Sequence[Doc]) -> tuple[Any, Callable]:
        """Hand out what was received, once.

        docs (Sequence[Doc]): The batch.
        RETURNS (tuple[list[Floats2d], Callable]): Vectors, and what takes their gradients. If nothing was received, as
            the encoder is frozen, the vectors that it wrote to the Docs.
        RAISES (ClinieError): CIE336 if another batch was received.
        """
        if self.link.received is None:
            return [doc.tensor for doc in docs], _no_gradient
        (batch_id, outputs, backprop), self.link.received = self.link.received, None
        if batch_id != self.get_batch_id(docs):
            raise ClinieError("CIE336", encoder=self.upstream_name)
        return outputs, lambda gradients: backprop([self.grad_factor * rows for rows in gradients])


def _forward(model: Any, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Callable]:
    return model.take(docs) if is_train else ([doc.tensor for doc in docs], _no_gradient)


def _init(model: Any, X: Any = None, Y: Any = None) -> None:
    component = model.link.upstream and model.link.upstream()
    if component is None:
        raise ClinieError("CIE338", encoder=model.upstream_name)
    upstream = component.model
    width = upstream.get_dim("nO") if upstream.has_dim("nO") else upstream.predict(X[:1])[0].shape[1]
    model.set_dim("nO", width, force=True)


def _no_gradient(gradient: Any) -> list:
    return []
