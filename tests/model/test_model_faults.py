"""Whatever goes wrong, at whichever moment: the model keeps every bit and all of its state."""

import dataclasses
import importlib
import random

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, Net, mlp, trained

from pathcond_native.errors import InvalidInputError, TraceError, VerificationError
from pathcond_native.model import diag_g, rescale_, trace
from pathcond_native.model.rules import RULES

stats = importlib.import_module("pathcond_native.model.stats").stats


class InjectedError(Exception):
    pass


def state(model: nn.Module) -> list[object]:
    """Everything about a model, its gradients and the random number generators, as bytes."""

    def raw(x):
        return None if x is None else (id(x), x.detach().numpy().tobytes(), x.stride())

    return [
        [(n, raw(p), raw(p.grad), p.requires_grad) for n, p in model.named_parameters()],
        [(n, raw(b)) for n, b in model.named_buffers()],
        [
            (n, m.training, {k: id(v) for k, v in vars(m).items() if k[0] != "_"})
            for n, m in model.named_modules()
        ],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
    ]


class Stateful(nn.Module):
    """Changes, at every call, all that a forward pass can change; may raise at a given call."""

    def __init__(self, raise_at: int = -1) -> None:
        super().__init__()
        self.body = trained(ZOO["norm2d"].build())
        self.register_buffer("calls", torch.zeros(()))
        self.plain = torch.zeros(3)
        self.last = None
        self.count = 0
        self.raise_at = raise_at
        self.log: list[str] = []

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.log.append("run")
            self.calls += 1
            self.plain += 1
            self.last = x
            self.extra = x * 2
            self.count += 1
            random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002
            if len(self.log) == self.raise_at:
                raise InjectedError(f"call {self.raise_at}")
        return self.body(x)


def prepared(model: nn.Module) -> nn.Module:
    """Mixed modes, a frozen parameter, gradients, hooks."""
    first = next(model.parameters())
    first.requires_grad_(False)
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0)
    list(model.modules())[-1].train(False)
    model.register_forward_hook(lambda *_: None)
    return model


def test_a_forward_pass_leaves_no_trace():
    model = prepared(Stateful())
    before = state(model)
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    report = rescale_(model, x)
    assert report.neurons == 12 and len(report.verification.runs) == 3
    assert len(model.log) == 6, "a list that the model appends to is beyond reach"
    parameters, *rest = state(model)
    assert rest == before[1:]
    for old, new in zip(before[0], parameters, strict=True):
        assert (old[0], old[1][0], *old[2:]) == (new[0], new[1][0], *new[2:])
    before = state(model)
    stats(model, x)
    trace(model, x)
    diag_g(model, x)
    assert state(model) == before


@pytest.mark.parametrize("call", range(1, 7))
def test_a_forward_pass_that_raises(call):
    """The n-th of the six runs raises: three before the change, three after it."""
    model = prepared(Stateful(raise_at=call))
    before = state(model)
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    # Only the first run of each three is required. Where another one raises only once, the runs
    # before and after do not match.
    required = call in (1, 4)
    with pytest.raises(
        InvalidInputError if required else VerificationError,
        match=f"InjectedError: call {call}" if required else "exists in",
    ):
        rescale_(model, x)
    assert state(model) == before


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("trace", KeyboardInterrupt),
        ("problem", InjectedError),
        ("find", KeyboardInterrupt),
        ("rescale_parameters", MemoryError),
        ("changes", KeyboardInterrupt),
    ],
)
def test_a_stage_that_raises(moment, error, monkeypatch):
    module = importlib.import_module("pathcond_native.model.rescale")
    real = getattr(module, moment)

    def failing(*args, **options):
        real(*args, **options)
        torch.rand(1)
        raise error

    monkeypatch.setattr(module, moment, failing)
    model = prepared(Stateful())
    before = state(model)
    with pytest.raises(error):
        rescale_(model, torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


def test_a_hook_that_raises_while_tracing():
    def hook(*_):
        if torch.compiler.is_compiling():
            raise InjectedError("hook")

    model = prepared(Stateful())
    model.body.register_forward_hook(hook)
    before = state(model)
    with pytest.raises(TraceError, match="InjectedError: hook"):
        rescale_(model, torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


def test_a_wrong_rule_is_caught(monkeypatch):
    """tanh declared to be positively homogeneous."""
    monkeypatch.setitem(RULES, "aten.tanh", dataclasses.replace(RULES["aten.relu"]))
    model = mlp(4, 5, 6, 3, activation=nn.Tanh)
    with torch.no_grad():
        model[0].weight *= 10
    before = state(model)
    with pytest.raises(VerificationError, match=r"rescaling changed output .* in evaluation mode"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


@pytest.mark.parametrize("part", [0, 1])
def test_a_wrong_entry_of_any_output_is_caught(part, monkeypatch):
    """The second output alone changes, in a dict, or an integer changes."""
    monkeypatch.setitem(RULES, "aten.tanh", dataclasses.replace(RULES["aten.relu"]))

    def forward(s, x):
        h = s.a(x)
        odd = s.c(torch.tanh(h))
        return {"fine": s.b(h.relu()), "odd": odd if part == 0 else (odd * 1e4).long()}

    model = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3), c=nn.Linear(5, 3))
    with torch.no_grad():
        model.a.weight *= 10
    before = state(model)
    with pytest.raises(VerificationError, match=r"rescaling changed output \['odd'\]"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


@pytest.mark.parametrize("training", [False, True])
def test_a_forward_pass_that_changes_a_parameter(training):
    def forward(s, x):
        if not torch.compiler.is_compiling() and s.training is training:
            with torch.no_grad():
                s.a.weight.mul_(0.5)
        return s.b(s.a(x).relu())

    model = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    before = state(model)
    with pytest.raises(InvalidInputError, match=r"changes its parameter 'a\.weight'"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


def test_a_tensor_that_a_module_holds_on_a_parameter_follows_it():
    """An attribute that shares a parameter's memory is the parameter's, not state to restore."""
    model = mlp(4, 5, 3)
    model[0].view = model[0].weight.detach()
    with torch.no_grad():
        model[0].weight *= 30
    x = torch.randn(2, 4)
    old = model[0].weight.detach().clone()
    rescale_(model, x)
    assert torch.equal(model[0].view, model[0].weight) and not torch.equal(model[0].weight, old)


def test_a_backward_pass_under_way_survives():
    """Tracing and verification write to no buffer that they leave as it was."""
    model = trained(ZOO["norm2d"].build()).eval()
    x = torch.randn(4, 2, 5, 5)
    loss = (model(x) * torch.ones(()).requires_grad_()).sum()
    stats(model, x)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("graph", ["x", 3, object()])
def test_what_is_no_graph_is_refused(graph):
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    for call in (rescale_, diag_g):
        with pytest.raises(InvalidInputError, match="graph: expected what trace"):
            call(model, x, graph=graph)


def test_a_hook_that_removes_itself_is_back_afterwards():
    model, calls = prepared(Stateful()), []

    def once(*_):
        calls.append(1)
        handle.remove()

    model.register_forward_hook(lambda *_: None)
    handle = model.body.register_forward_hook(once)
    model.body.register_forward_hook(lambda *_: None)
    before = [list(m._forward_hooks) for m in model.modules()]
    rescale_(model, torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert [list(m._forward_hooks) for m in model.modules()] == before
    assert calls, "it ran"


def test_a_module_that_a_forward_pass_adds_is_gone_afterwards():
    def forward(s, x):
        if not torch.compiler.is_compiling():
            s.add_module("late", nn.ReLU())
        return s.b(s.a(x).relu())

    model = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    rescale_(model, torch.randn(2, 4))
    assert list(model._modules) == ["a", "b"]


def test_a_forward_pass_that_writes_through_data():
    """Such a write leaves the parameter's version as it was."""

    def forward(s, x):
        if not torch.compiler.is_compiling():
            s.a.weight.data.mul_(0.5)
        return s.b(s.a(x).relu())

    model = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    before = state(model)
    with pytest.raises(InvalidInputError, match=r"a forward pass changes parameter 'a\.weight'"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_parameters_in_a_mapped_file(mode, tmp_path):
    """Writing to a file that is mapped for reading only would end the process."""
    path = tmp_path / "weights"
    np.random.default_rng(0).normal(size=20).astype(np.float32).tofile(path)
    old = path.read_bytes()
    mapped = np.memmap(path, np.float32, mode, shape=(5, 4))
    model = mlp(4, 5, 3)
    model[0].weight = nn.Parameter(torch.from_numpy(mapped))
    before, x = state(model), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    if mode == "r":
        with pytest.raises(InvalidInputError, match=r"'0\.weight' lies in memory that is mapped"):
            rescale_(model, x)
        assert state(model) == before
    else:
        rescale_(model, x)
        assert state(model) != before
    mapped.flush()
    assert (path.read_bytes() == old) is (mode != "r+"), "only what is mapped for writing changes"


def test_parameters_on_several_devices():
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    graph = trace(model, x)
    model[2].weight = nn.Parameter(torch.empty(3, 5, device="meta"))
    before = [y.detach().numpy().tobytes() for y in (*model[0].parameters(), model[2].bias)]
    for call in (rescale_, diag_g):
        for given in (graph, None):
            with pytest.raises(InvalidInputError, match=r"'2\.weight' is on the meta device and"):
                call(model, x, graph=given)
    after = [y.detach().numpy().tobytes() for y in (*model[0].parameters(), model[2].bias)]
    assert after == before


def test_a_parameter_whose_entries_share_memory():
    model = mlp(4, 5, 3)
    model[0].weight.data = model[0].weight.data[:1].expand(5, 4)
    before = state(model)
    with pytest.raises(InvalidInputError, match=r"'0\.weight' holds some entries in the same"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert state(model) == before


def test_a_sparse_parameter_is_refused_also_with_a_graph():
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    graph = trace(model, x)
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse())
    for call in (rescale_, diag_g):
        with pytest.raises(InvalidInputError, match=r"'0\.weight' is a Tensor of layout torch"):
            call(model, x, graph=graph)


def test_a_parameter_that_became_an_integer_after_tracing():
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    graph = trace(model, x)
    model[0].bias = nn.Parameter(model[0].bias.detach().bool(), requires_grad=False)
    for call in (rescale_, diag_g):
        with pytest.raises(InvalidInputError, match=r"'0\.bias' was floating-point, which now is"):
            call(model, x, graph=graph)


def test_sparse_example_inputs():
    model = Net(lambda s, x: s.b(s.a(x.to_dense()).relu()), a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    model.a.weight.data *= 30
    x = torch.randn(2, 4)
    g = diag_g(model, x)
    report = rescale_(model, x.to_sparse(), graph=trace(model, x))
    assert report.neurons == 5 and report.max_relative_error <= 1e-5
    assert not torch.equal(diag_g(model, x), g)


def test_parameters_made_for_inference():
    with torch.inference_mode():
        model = mlp(4, 5, 3)
    before = [x.detach().numpy().tobytes() for x in model.parameters()]
    with pytest.raises(InvalidInputError, match=r"made under torch\.inference_mode"):
        rescale_(model, torch.randn(2, 4))
    assert [x.detach().numpy().tobytes() for x in model.parameters()] == before


@pytest.mark.parametrize("when", ["capturing", "before", "after"])
def test_a_parametrization_that_raises(when):
    class Raising(nn.Module):
        armed = False
        runs = 0

        def forward(self, w):
            if self.armed:
                self.runs += not torch.compiler.is_compiling()
                now = torch.compiler.is_compiling() == (when == "capturing")
                if now and len(log) >= {"capturing": 0, "before": 0, "after": 2}[when]:
                    raise InjectedError("parametrization")
                log.append(when)
            return w.abs()

    log: list[str] = []
    model = mlp(4, 5, 3)
    nn.utils.parametrize.register_parametrization(model[0], "weight", Raising())
    graph = None if when == "capturing" else trace(model, torch.randn(2, 4))
    Raising.armed = True
    before = state(model)
    with pytest.raises((TraceError, InvalidInputError), match="InjectedError: parametrization"):
        rescale_(model, torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), graph=graph)
    assert state(model) == before


def test_parameters_that_share_memory_since_the_graph_was_traced():
    """Both would be scaled; where no output depends on one of them, verification cannot tell."""
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    model.unused = nn.Parameter(torch.ones(5))
    model.forward = lambda x: model[2](model[1](model[0](x)))
    graph = trace(model, x)
    both = torch.cat([model[0].bias.detach(), torch.ones(5)])
    model[0].bias.data, model.unused.data = both[:5], both[5:]
    rescale_(model, x, graph=graph)  # one storage, but other parts of it
    model.unused.data = model[0].bias.data
    before = state(model)
    with pytest.raises(InvalidInputError, match=r"'unused'.* shared no memory, .*trace"):
        rescale_(model, x, graph=graph)
    assert state(model) == before
    rescale_(model, x)  # traced again
