"""What `[training.optimizer]` says, weights do."""

from typing import Any, Optional

import numpy as np
import pytest
import spacy
import torch
from thinc.api import SGD, Adam, Config, Model, Optimizer, RAdam, warmup_linear

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.shim import TorchShim
from spacy_clinie.training.optimizer import adamw
from tests.conftest import Examples, modules_of
from tests.encoders import initialized_tagger


class Stack(torch.nn.Module):
    """Two layers of an encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low, self.high, self.head = (torch.nn.Linear(3, 3) for _ in range(3))

    def layers(self) -> list[tuple[list[torch.nn.Parameter], Optional[int]]]:
        parts = ((self.high, 0), (self.low, 1), (self.head, None))
        return [(list(part.parameters()), above) for part, above in parts]

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.head(self.high(self.low(given).tanh()).tanh())


def make_shim() -> TorchShim:
    shim = TorchShim(lambda _: Stack())
    shim.module = Stack()
    return shim


def step(shim: TorchShim, optimizer: Any, number: int = 0) -> None:
    shim.module(torch.full((1, 3), 1.0 + number)).square().sum().backward()
    shim.finish_update(optimizer)
    assert all(weight.grad is None for weight in shim.module.parameters())


def state(shim: TorchShim) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy().copy() for name, weight in shim.module.named_parameters()}


def gradients(shim: TorchShim) -> dict[str, np.ndarray]:
    shim.module(torch.ones(1, 3)).square().sum().backward()
    found = {name: weight.grad.numpy().copy() for name, weight in shim.module.named_parameters()}
    shim.module.zero_grad()
    return found


def test_sgd_takes_the_gradient_off_the_weights() -> None:
    shim = make_shim()
    before, slopes = state(shim), gradients(shim)
    step(shim, SGD(0.5, grad_clip=0.0, use_averages=False))
    for name, after in state(shim).items():
        np.testing.assert_allclose(after, before[name] - 0.5 * slopes[name], rtol=1e-6)


def test_sgd_clips_each_weight_and_decays_as_it_says() -> None:
    shim = make_shim()
    before, slopes = state(shim), gradients(shim)
    step(shim, SGD(0.5, grad_clip=0.01, L2=0.1, L2_is_weight_decay=True, use_averages=False))
    for name, after in state(shim).items():
        slope = slopes[name] * min(1.0, 0.01 / np.linalg.norm(slopes[name]))
        moved = before[name] - 0.5 * slope
        np.testing.assert_allclose(after, moved - 0.5 * 0.1 * moved, rtol=1e-5)
    shim = make_shim()
    step(shim, SGD(0.5, grad_clip=0.0, L2=0.1, L2_is_weight_decay=False, use_averages=False))
    for name, after in state(shim).items():
        np.testing.assert_allclose(after, before[name] - 0.5 * (slopes[name] + 0.1 * before[name]), rtol=1e-5)


@pytest.mark.parametrize("kind", [Adam, RAdam])
def test_optimizers_of_thinc_do_to_a_torch_module_what_they_do_to_a_layer(kind: Any) -> None:
    shim, rates = make_shim(), [0.1, 0.01, 0.02]
    settings = {"L2": 0.01, "grad_clip": 0.5, "use_averages": True}
    held, own, other = state(shim), kind(iter(rates), **settings), kind(iter(rates), **settings)
    for number in range(3):
        shim.module(torch.full((1, 3), 1.0 + number)).square().sum().backward()
        for name, weight in shim.module.named_parameters():
            held[name], _ = other((0, name), held[name], weight.grad.numpy().copy())
        shim.finish_update(own)
        for optimizer in (own, other):
            optimizer.step_schedules()
    for name, after in state(shim).items():
        np.testing.assert_allclose(after, held[name], rtol=1e-5)
    with shim.use_params(own.averages):
        for name, average in state(shim).items():
            np.testing.assert_allclose(average, other.averages[0, name], rtol=1e-5)
            assert abs(average - held[name]).max() > 1e-4


def test_an_optimizer_of_ones_own_is_called_for_each_weight() -> None:
    shim, called = make_shim(), []

    def halve(key: tuple[int, str], weights: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        called.append(key)
        return weights / 2, gradient

    before = state(shim)
    step(shim, halve)
    assert called == [(shim.id, name) for name in before]
    for name, after in state(shim).items():
        np.testing.assert_array_equal(after, before[name] / 2)


def test_adamw_is_that_of_torch() -> None:
    shim, same = make_shim(), Stack()
    matrices = [p for p in same.parameters() if p.ndim > 1]
    vectors = [p for p in same.parameters() if p.ndim == 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    torchs = torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.2)
    ours = adamw(0.1, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.2, grad_clip=0.5)
    for number in range(4):
        step(shim, ours, number)
        same(torch.full((1, 3), 1.0 + number)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(same.parameters(), 0.5)
        torchs.step()
        torchs.zero_grad()
    for name, after in same.named_parameters():
        np.testing.assert_allclose(state(shim)[name], after.detach().numpy(), rtol=1e-5)


def test_adamw_is_the_same_on_layers_of_thinc() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype("f")
    same = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    torchs = torch.optim.AdamW([same], lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.2)
    ours, seen = adamw(0.1, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.2, use_averages=True), []
    for number in range(4):
        slope = weights * 0.01 + 0.01 * number
        weights, zero = ours((1, "W"), weights, slope.copy())
        assert not zero.any()
        same.grad = torch.from_numpy(slope)
        torchs.step()
        np.testing.assert_allclose(weights, same.detach().numpy(), rtol=1e-5)
        seen.append(weights.copy())
    assert ours.averages
    shares = [(t + 1) * (t + 2) for t in range(4)]
    np.testing.assert_allclose(ours.averages[1, "W"], np.average(seen, axis=0, weights=shares), rtol=1e-5)
    biases = np.ones((2, 3), dtype="f")  # of thinc's Maxout
    assert (ours((1, "b"), biases, np.zeros_like(biases))[0] == 1).all()
    assert (ours((2, "W"), biases, np.zeros_like(biases))[0] < 1).all()


def test_clipping_holds_for_a_module_as_a_whole_and_for_each_array_of_thinc() -> None:
    shim = make_shim()
    slopes = gradients(shim)
    whole = float(np.sqrt(sum((slope**2).sum() for slope in slopes.values())))
    ours = adamw(0.1, beta1=0.0, grad_clip=0.25 * whole)
    shim.module(torch.ones(1, 3)).square().sum().backward()
    shim.finish_update(ours)
    kept = ours._modules[shim.id][1].state[shim.module.head.weight]["exp_avg"].numpy()
    np.testing.assert_allclose(kept, 0.25 * slopes["head.weight"], rtol=1e-4)
    array = np.full(4, 3.0, dtype="f")
    ours((1, "W"), np.zeros(4, dtype="f"), array)
    np.testing.assert_allclose(ours.mom1[1, "W"], array + 3.0 * min(1.0, 0.25 * whole / 6.0), rtol=1e-5)


def test_each_layer_and_the_head_have_their_learning_rate() -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    shim = make_shim()
    before = state(shim)
    step(shim, adamw(0.01, weight_decay=0.0, grad_clip=0.0, head_factor=3.0, layer_decay=0.5))
    for name, after in state(shim).items():
        expected = 0.01 * {"low": 0.5, "high": 1.0, "head": 3.0}[name.split(".")[0]]
        np.testing.assert_allclose(abs(after - before[name]), expected, rtol=1e-3)


def test_a_schedule_sets_the_rate_of_every_step() -> None:
    shim, ours = make_shim(), adamw(warmup_linear(0.04, 2, 4), weight_decay=0.0)
    for expected in (0.0, 0.02, 0.04):
        before = state(shim)["head.bias"]
        step(shim, ours)
        assert abs(state(shim)["head.bias"] - before).max() == pytest.approx(expected, rel=0.05)
        ours.step_schedules()


def test_averages_count_late_steps_more_and_are_used_for_a_while() -> None:
    shim, ours, seen = make_shim(), adamw(0.1, use_averages=True), []
    shim.module.low.bias.requires_grad_(False)
    for number in range(5):
        step(shim, ours, number)
        seen.append(state(shim))
    # The weight of step t of a polynomial of power 2 is in proportion to (t + 1)(t + 2).
    shares = [(t + 1) * (t + 2) for t in range(5)]
    assert ours.averages
    with shim.use_params(ours.averages):
        for name, average in state(shim).items():
            held = [one[name] for one in seen]
            np.testing.assert_allclose(average, np.average(held, axis=0, weights=shares), rtol=1e-5)
    with pytest.raises(KeyError), shim.use_params(ours.averages):
        raise KeyError
    for name, after in state(shim).items():
        np.testing.assert_array_equal(after, seen[-1][name])


def test_what_is_trained_anew_begins_without_old_moments() -> None:
    shim, ours = make_shim(), adamw(0.1, use_averages=True)
    step(shim, ours)
    step(shim, ours, 3)
    shim.module = Stack()
    step(shim, ours)
    other, fresh = make_shim(), adamw(0.1, use_averages=True)
    step(other, fresh)
    for name, after in state(other).items():
        np.testing.assert_array_equal(state(shim)[name], after)
    with shim.use_params(ours.averages), other.use_params(fresh.averages):
        np.testing.assert_array_equal(state(shim)["head.weight"], state(other)["head.weight"])


@pytest.mark.parametrize(
    "setting, value",
    [
        ("head_factor", 0.0),
        ("layer_decay", 1.1),
        ("layer_decay", 0.0),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("eps", 0.0),
        ("weight_decay", -1.0),
        ("grad_clip", -1.0),
    ],
)
def test_values_out_of_range_are_refused_by_name_when_the_config_is_read(setting: str, value: float) -> None:
    block = {"optimizer": {"@optimizers": "spacy_clinie.AdamW.v1", setting: value}}
    with pytest.raises(ClinieError, match=rf"CIE307.*{setting} must be .*{value}"):
        spacy.registry.resolve(block)


def test_the_optimizer_of_a_config_decides(tiny_bert: str, make_examples: Examples) -> None:
    """SGD in a config: from pipeline to weights."""
    nlp, examples = initialized_tagger(tiny_bert, make_examples)
    block = Config().from_str('[optimizer]\n@optimizers = "SGD.v1"\nlearn_rate = 0.1\ngrad_clip = 0.0\nL2 = 0.0')
    sgd: Optimizer = spacy.registry.resolve(block)["optimizer"]
    head, encoder = modules_of(nlp.get_pipe("clinie_ner_encoder"))
    nlp.get_pipe("clinie_ner_encoder").update(examples, sgd=None)
    named = [*head.named_parameters(), *encoder.named_parameters()]
    expected = {n: (p - 0.1 * p.grad).detach().numpy() for n, p in named if p.grad is not None}
    nlp.get_pipe("clinie_ner_encoder").finish_update(sgd)
    assert len(expected) > 20
    for name, parameter in named:
        if name in expected:
            np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-5, atol=1e-8)
    assert sgd.averages
    with nlp.use_params(sgd.averages):
        pass


@pytest.mark.parametrize("optimizer", ["spacy_clinie.AdamW.v1", "Adam.v1", "RAdam.v1"])
def test_one_optimizer_trains_layers_of_thinc_and_ours_together(optimizer: str, make_examples: Examples) -> None:
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 1}
    tok2vec |= {"embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    model = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": listener}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    block = {"optimizer": {"@optimizers": optimizer, "learn_rate": 0.01, "use_averages": True}}
    sgd = spacy.registry.resolve(block)["optimizer"]
    layer: Model = next(node for node in nlp.get_pipe("tok2vec").model.walk() if node.has_param("W"))
    module = nlp.get_pipe("clinie_ner_encoder").model.shims[0].module
    before, head = layer.get_param("W").copy(), module.head.output.weight.detach().clone()
    losses = [nlp.update(examples, sgd=sgd)["clinie_ner_encoder"] for _ in range(30)]
    assert losses[-1] < losses[0] / 3
    after = layer.get_param("W").copy()
    assert abs(after - before).max() > 0.01 and (module.head.output.weight - head).abs().max() > 0.01
    with nlp.use_params(sgd.averages):
        assert abs(layer.get_param("W") - after).max() > 0
        assert sgd.averages[nlp.get_pipe("clinie_ner_encoder").model.shims[0].id, "head.output.weight"] is not None
    np.testing.assert_array_equal(layer.get_param("W"), after)
