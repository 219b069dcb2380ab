"""What models come as: wrappers, hooks, parametrisations, and any kind of input and output."""

import collections
import copy
import importlib
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils import _pytree as pytree
from zoo import Net, mlp

from pathcond_native.errors import InvalidInputError, TraceError
from pathcond_native.model import rescale_, trace
from pathcond_native.model.inputs import unwrapped
from pathcond_native.model.verify import runs

rescale = importlib.import_module("pathcond_native.model.rescale").rescale


def unequal(model: nn.Module) -> nn.Module:
    """Layers of different sizes, so that there is something to do."""
    with torch.no_grad():
        for k, x in enumerate(model.parameters()):
            x *= 3.0 ** (-1) ** (k // 2)
    return model


def moved(old: object, new: object) -> float:
    pairs = zip(pytree.tree_leaves(old), pytree.tree_leaves(new), strict=True)
    return max(
        float((a - b).detach().abs().max() / a.detach().abs().max())
        for a, b in pairs
        if isinstance(a, torch.Tensor) and a.is_floating_point()
    )


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_wrappers_are_looked_through(wrap):
    inner, x = unequal(mlp(4, 5, 6, 3)), torch.randn(3, 4)
    expected, before = copy.deepcopy(inner), inner(x)
    report = rescale_(wrap(inner), x)
    assert report.neurons == 11 and report.groups[0].name == "0"
    assert moved(before, inner(x)) <= 1e-5
    rescale_(expected, x)
    for a, b in zip(inner.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)
    assert unwrapped(nn.DataParallel(wrap(inner))) is inner


def test_nothing_is_compiled(monkeypatch):
    """Neither a compiled submodule nor `Module.compile` may start a compiler during a rescaling."""

    def backend(graph, example_inputs):
        raise AssertionError("compiled")

    model, x = unequal(mlp(4, 5, 6, 3)), torch.randn(3, 4)
    before = model(x)
    model[2] = torch.compile(model[2], backend=backend)
    model.compile(backend=backend)
    assert rescale_(model, x).neurons == 11
    with torch.compiler.set_stance("force_eager"):
        assert moved(before, model(x)) <= 1e-5


def test_the_copy_of_a_wrapper_is_a_wrapper(bits):
    model, x = nn.DataParallel(unequal(mlp(4, 5, 3))), torch.randn(3, 4)
    before = bits(model)
    result = rescale(model, x)
    assert isinstance(result, nn.DataParallel) and result.module is not model.module
    assert bits(model) == before != bits(result)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_refused():
    model = mlp(4, 5, 3)
    model[0] = torch.jit.trace(model[0], torch.randn(1, 4))
    with pytest.raises(InvalidInputError, match="TorchScript"):
        rescale_(model, torch.randn(1, 4))


PARAMETRISED = {
    "weight_norm": lambda m: parametrizations.weight_norm(m),
    "spectral_norm": lambda m: parametrizations.spectral_norm(m),
    "orthogonal": lambda m: parametrizations.orthogonal(m),
    "old_weight_norm": lambda m: torch.nn.utils.weight_norm(m),
    "old_spectral_norm": lambda m: torch.nn.utils.spectral_norm(m),
    "pruned": lambda m: prune.random_unstructured(m, "weight", 0.4),
    "pruned_channels": lambda m: prune.ln_structured(m, "weight", 0.3, n=1, dim=0),
    "parametrize": lambda m: parametrize.register_parametrization(m, "weight", nn.Softplus()),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    ("kind", "layer"),
    [*((kind, 2) for kind in PARAMETRISED), ("pruned", 0), ("old_weight_norm", 4)],
)
def test_derived_weights_are_never_wrong(kind, layer):
    model, x = unequal(mlp(4, 5, 6, 3)), torch.randn(3, 4)
    PARAMETRISED[kind](model[layer])
    model.eval()
    before, weight = model(x), model[layer].weight.detach().clone()
    names = [name for name, _ in model.named_parameters()]
    kept = vars(model[layer]).get("weight")
    report = rescale_(model, x)
    assert moved(before, model(x)) <= 1e-5
    assert [name for name, _ in model.named_parameters()] == names
    assert report.neurons + sum(p.channels for p in report.pinned) >= 3
    if kept is not None:  # an attribute that only a forward pass recomputes is still one
        assert model[layer].weight.requires_grad
    copied = rescale(model, x)
    assert moved(before, copied(x)) <= 1e-5
    assert model[layer].weight.shape == weight.shape


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_derived_weight_is_up_to_date_at_once():
    for kind in ("old_weight_norm", "pruned"):
        model, x = unequal(mlp(4, 5, 6, 3)), torch.randn(3, 4)
        PARAMETRISED[kind](model[2])
        rescale_(model, x, verify=False)
        shown = model[2].weight.detach().clone()
        model(x)
        assert torch.equal(model[2].weight, shown)


class Output(collections.OrderedDict):
    """A stand-in for Hugging Face's ModelOutput: a dict with attributes, known to pytree."""

    def __getattr__(self, name):
        return self[name]


pytree.register_pytree_node(
    Output,
    lambda x: (list(x.values()), list(x)),
    lambda values, keys: Output(zip(keys, values, strict=True)),
    serialized_type_name="tests.Output",
    flatten_with_keys_fn=lambda x: ([(pytree.MappingKey(k), v) for k, v in x.items()], list(x)),
)


@dataclass
class Heads:
    first: torch.Tensor
    second: torch.Tensor | None = None


torch.export.register_dataclass(Heads, serialized_type_name="tests.Heads")

OUTPUTS = {
    "tuple": lambda a, b: (a, None, [b, 3]),
    "dict": lambda a, b: {"a": a, "deep": {"b": (b, None)}, "flag": True},
    "model_output": lambda a, b: Output(logits=a, loss=None, hidden=(b,)),
    "dataclass": lambda a, b: Heads(a, b),
    "integers": lambda a, b: (a, b.argmax(1)),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_any_structure(kind):
    model = Net(
        lambda s, x: (lambda h: OUTPUTS[kind](s.b(h), s.c(h)))(s.a(x).relu()),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
        c=nn.Linear(5, 2),
    )
    unequal(model)
    x = torch.randn(3, 4)
    before = model(x)
    assert rescale_(model, x).neurons == 5
    assert moved(before, model(x)) <= 1e-5


def test_inputs_by_keyword_with_tokens_masks_and_nothing():
    def forward(s, tokens, *, mask, values=None, factor=1.0, names=("x",)):
        h = s.embed(tokens) * mask.unsqueeze(-1)
        h = s.a(h).relu()
        return s.b(h if values is None else h + s.c(values).unsqueeze(1)) * factor

    model = Net(
        forward,
        embed=nn.Embedding(11, 6),
        a=nn.Linear(6, 5),
        b=nn.Linear(5, 3),
        c=nn.Linear(2, 5),
    )
    unequal(model)
    inputs = {
        "tokens": torch.tensor([[10, 3, 5], [0, 1, 7]]),
        "mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "values": torch.randn(2, 2),
        "factor": 2.0,
        "names": ["y"],
    }
    for call in (inputs, {**inputs, "values": None}):
        before = model(**call)
        report = rescale_(model, call)
        assert len(report.verification.runs) == 3
        assert moved(before, model(**call)) <= 1e-5


def test_random_inputs_stay_in_range():
    tokens, mask = torch.arange(12).reshape(3, 4) * 7, torch.rand(3, 4) > 0.5
    example = ((tokens, mask, torch.zeros(2, 2)), {"n": 3})
    for run in runs(example):
        (a, b, c), rest = run.call
        assert sorted(a.flatten().tolist()) == sorted(tokens.flatten().tolist())
        assert torch.equal(b, mask) and rest == {"n": 3}
        assert bool(c.any()) == ("random" in run.name)
    assert not torch.equal(runs(example)[1].call[0][0], tokens)
    assert [run.required for run in runs(example)] == [True, False, False, False]
    assert [run.spare for run in runs(example)] == [False, False, False, True]


def test_training_mode_takes_the_example_inputs_if_it_must():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = unequal(mlp(4, 5, 3))

        def forward(self, x):
            if not torch.compiler.is_compiling() and bool((x < 0).any()):
                raise ValueError("expected positive inputs")
            return self.body(x)

    report = rescale_(Picky(), torch.rand(3, 4))
    modes = ("evaluation mode", "training mode")
    assert report.verification.runs == tuple(f"{mode}, the example inputs" for mode in modes)


def test_inputs_that_only_some_values_suit():
    """Random inputs and training mode may be refused by the model; the example inputs may not."""

    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = unequal(mlp(4, 5, 3))

        def forward(self, x):
            if self.training:
                raise ValueError("expected targets")
            if not torch.compiler.is_compiling() and bool((x < 0).any()):
                raise ValueError("expected positive inputs")
            return self.body(x)

    report = rescale_(Picky(), torch.rand(3, 4))
    assert report.verification.runs == ("evaluation mode, the example inputs",)
    with pytest.raises(InvalidInputError, match=r"example inputs failed .*positive"):
        rescale_(Picky(), -torch.rand(3, 4))


@pytest.mark.parametrize(
    "inputs", [(torch.ones(2, 4), 1, 2), {"y": torch.ones(2, 4)}, {"x": torch.ones(2, 4), "k": 1}]
)
def test_wrong_arguments_are_named(inputs):
    class Plain(nn.Module):
        def forward(self, x, scale=1.0):
            return x * scale

    with pytest.raises(InvalidInputError, match=r"Plain\.forward expects \(x, scale=1\.0\); got"):
        rescale_(Plain(), inputs)


def test_data_dependent_control_flow_is_refused(bits):
    model = Net(lambda s, x: s.a(x) if x.sum() > 0 else -s.a(x), a=nn.Linear(4, 4))
    before = bits(model)
    with pytest.raises(TraceError, match="Move that decision out"):
        rescale_(model, torch.randn(2, 4))
    assert bits(model) == before


def test_meta_models_are_traced_but_not_rescaled():
    with torch.device("meta"):
        model = mlp(4, 5, 3)
    x = torch.randn(2, 4, device="meta")
    assert len(trace(model, x).neurons) == 5
    for call in (rescale_, rescale):
        with pytest.raises(InvalidInputError, match=r"'0\.weight' is on the meta device"):
            call(model, x)


def test_inference_tensors():
    """As inputs, and all around; parameters made so are read-only and refused."""
    with torch.inference_mode():
        model, x = mlp(4, 5, 3), torch.randn(2, 4)
    with pytest.raises(InvalidInputError, match=r"'0\.weight' was made under torch\.inference"):
        rescale_(model, x)
    model = unequal(mlp(4, 5, 3))
    before = model(x.clone())
    assert rescale_(model, x).neurons == 5
    with torch.inference_mode():
        assert rescale_(model, x).neurons == 5
    with torch.no_grad():
        assert rescale_(model, x).neurons == 5
    assert moved(before, model(x.clone())) <= 1e-5 and model[0].weight.requires_grad


def test_parameters_of_other_kinds_are_refused():
    model = mlp(4, 5, 3)
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse())
    with pytest.raises(InvalidInputError, match=r"'0\.weight' is a .* torch\.sparse_coo"):
        rescale_(model, torch.randn(2, 4))
