"""AdamW for torch modules and thinc layers alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from thinc.backends import get_array_ops
from thinc.optimizers import FloatOrSeq, Optimizer

from ..errors import ClinieError

if TYPE_CHECKING:
    import torch

# How much more late steps count in averages: the weight of a step grows with this power of its number.
_LATE = 2


def adamw(
    learn_rate: FloatOrSeq = 0.001,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    grad_clip: float = 1.0,
    head_factor: float = 1.0,
    layer_decay: float = 1.0,
    use_averages: bool = False,
) -> "AdamW":
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101). Registered as
    `spacy_clinie.AdamW.v1`. Biases and normalization weights are not decayed.

    learn_rate (FloatOrSeq): The learning rate, or a schedule of it.
    beta1 (float): Decay of the mean of the gradients, at least 0 and below 1.
    beta2 (float): Decay of the mean of their squares, at least 0 and below 1.
    eps (float): Added to the divisor, for numerical stability.
    weight_decay (float): Share of a weight that a step takes off it, times the learning rate.
    grad_clip (float): Greatest norm of the gradients of a torch module together, and of each array of a thinc layer; 0
        does not clip.
    head_factor (float): Learning rate of a head on top of an encoder, as a multiple of `learn_rate`.
    layer_decay (float): Learning rate of each layer of an encoder, as a multiple of that of the layer above it; the
        last one has `learn_rate`. 0.8 suits 6 to 12 layers, 0.9 or more 24 (Howard and Ruder 2018, arXiv 1801.06146).
    use_averages (bool): Whether to keep averages of the weights, which spaCy scores and saves in their place. Late
        steps count more (polynomial-decay averaging: Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth
        Optimization", ICML 2013).
    RETURNS (AdamW): The optimizer.
    RAISES (ClinieError): CIE307 for a value out of range.
    """
    rules: Mapping[str, tuple[float, bool, str]] = {
        "beta1": (beta1, 0 <= beta1 < 1, "0 and any number up to 1"),
        "beta2": (beta2, 0 <= beta2 < 1, "0 and any number up to 1"),
        "eps": (eps, eps > 0, "any number above 0"),
        "weight_decay": (weight_decay, weight_decay >= 0, "0 and any number above it"),
        "grad_clip": (grad_clip, grad_clip >= 0, "0 and any number above it"),
        "head_factor": (head_factor, head_factor > 0, "any number above 0"),
        "layer_decay": (layer_decay, 0 < layer_decay <= 1, "any number above 0 up to 1"),
    }
    for setting, (value, holds, choices) in rules.items():
        if not holds:
            raise ClinieError("CIE307", setting=setting, value=value, choices=choices)
    return AdamW(
        learn_rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        grad_clip=grad_clip,
        head_factor=head_factor,
        layer_decay=layer_decay,
        use_averages=use_averages,
    )


class AdamW(Optimizer):
    """See `adamw`. Called, it updates an array as any optimizer of thinc; `update_module` updates a torch module."""

    def __init__(
        self,
        learn_rate: FloatOrSeq,
        *,
        weight_decay: float = 0.01,
        head_factor: float = 1.0,
        layer_decay: float = 1.0,
        use_averages: bool = False,
        **betas: Any,
    ) -> None:
        super().__init__(learn_rate, L2=weight_decay, use_averages=use_averages, **betas)
        self.head_factor, self.layer_decay = head_factor, layer_decay
        # By number of the shim: its module, and torch's optimizer of it.
        self._modules: dict[int, tuple[Any, torch.optim.AdamW]] = {}

    def __call__(self, key: tuple[int, str], weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> tuple[Any, Any]:
        """Update an array of a thinc layer.

        key (tuple[int, str]): Number of the layer, and name of the array.
        weights (FloatsXd): The array, changed in place.
        gradient (FloatsXd): Its gradient, set to 0.
        lr_scale (float): Factor of the learning rate.
        RETURNS (tuple[FloatsXd, FloatsXd]): Both.
        """
        if not gradient.size:
            return weights, gradient
        ops = get_array_ops(weights)
        if key not in self.mom1:
            self.mom1[key], self.mom2[key] = ops.xp.zeros_like(weights), ops.xp.zeros_like(weights)
        self.nr_update[key] += 1
        step, rate = self.nr_update[key], lr_scale * self.learn_rate
        if self.grad_clip:
            gradient = ops.clip_gradient(gradient, self.grad_clip)
        if _decays(key[1], weights.ndim):
            weights *= 1 - rate * self.L2
        mean, square = self.mom1[key], self.mom2[key]
        mean += (1 - self.b1) * (gradient - mean)
        square += (1 - self.b2) * (gradient**2 - square)
        divisor = ops.xp.sqrt(square / (1 - self.b2**step)) + self.eps
        weights -= rate / (1 - self.b1**step) * mean / divisor
        gradient *= 0
        if self.averages is not None:
            if step == 1:
                self.averages[key] = weights.copy()
            else:
                self.averages[key] += _share(step) * (weights - self.averages[key])
        return weights, gradient

    def update_module(self, key: int, module: Any) -> None:
        """Update a torch module with torch's own arithmetic, on whatever device it is.

        key (int): Number of its shim.
        module (torch.nn.Module): The module, with gradients. Its `layers()` are pairs of parameters and how many layers
            lie above theirs; None for those of a head.
        """
        import torch

        if key not in self._modules or self._modules[key][0] is not module:
            groups = self._groups(module)
            self._modules[key] = module, torch.optim.AdamW(groups, lr=float(self.learn_rate), fused=True)
            self.nr_update.pop((key, ""), None)
        optimizer = self._modules[key][1]
        for group in optimizer.param_groups:
            group["lr"] = float(self.learn_rate) * group["factor"]
        if self.grad_clip:
            torch.nn.utils.clip_grad_norm_(module.parameters(), float(self.grad_clip))
        optimizer.step()
        # The fused step does not tell that it changed them; copies of them are kept (`EncoderModule._at_precision`).
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                torch.autograd.graph.increment_version(parameter)
        if self.averages is not None:
            self._average(key, module)

    def _groups(self, module: Any) -> list[dict[str, Any]]:
        groups = []
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for parameters, above in module.layers():
            factor = self.head_factor if above is None else self.layer_decay**above
            for decayed in (True, False):
                members = [p for p in parameters if p.requires_grad and _decays(names[id(p)], p.ndim) == decayed]
                if members:
                    settings = {"betas": (self.b1, self.b2), "eps": self.eps, "factor": factor}
                    groups.append({"params": members, "weight_decay": self.L2 if decayed else 0.0, **settings})
        return groups

    def _average(self, key: int, module: Any) -> None:
        import torch

        self.nr_update[key, ""] += 1
        step, averages = self.nr_update[key, ""], cast(dict[tuple[int, str], Any], self.averages)
        weights = {(key, name): weight for name, weight in module.named_parameters() if weight.requires_grad}
        now = [weight.detach().float() for weight in weights.values()]
        if step == 1:
            averages.update({one: weight.clone() for one, weight in zip(weights, now, strict=True)})
        else:
            torch._foreach_lerp_([averages[one] for one in weights], now, _share(step))


def _decays(name: str, axes: int) -> bool:
    """Whether a weight is decayed: vectors are biases or normalize, and thinc calls every bias "b"."""
    return axes > 1 and name != "b"


def _share(step: int) -> float:
    """The share of a step's weights in the averages behind it, counted from 1."""
    return (_LATE + 1) / (step + _LATE)
