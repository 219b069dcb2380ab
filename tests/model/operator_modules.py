"""Small modules, each around one operator or one way to use a parameter."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from zoo import Net, mlp

relu = functional.relu
Linear = nn.Linear


class Raw(nn.Module):
    """Raw parameters given by shape, layers by keyword, and a forward function of (self, x)."""

    def __init__(self, forward: Callable[..., Tensor], shapes: dict, **layers: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args):
        return self.body(self, *args)


def conv(f: Callable[[Tensor], Tensor], channels: int = 6, after: int = 6):
    """conv - relu - f - conv, where f maps `channels` to `after` channels."""
    return lambda: Net(
        lambda s, x: s.b(f(relu(s.a(x)))),
        a=nn.Conv2d(3, channels, 3, padding=1),
        b=nn.Conv2d(after, 4, 1),
    )


def attend(query: Callable, **options) -> Callable[[], nn.Module]:
    """Linear maps to query, key and value, multi-head attention, a linear map."""

    def make():
        kdim, vdim = options.get("kdim", 8), options.get("vdim", 8)
        return Net(
            lambda s, x: s.c(query(s.m, s.q(x), relu(s.k(x)), relu(s.v(x)))),
            q=Linear(4, 8),
            k=Linear(4, kdim),
            v=Linear(4, vdim),
            m=nn.MultiheadAttention(8, 2, batch_first=True, **options),
            c=Linear(8, 2),
        )

    return make


def between_linear(layer: Callable[[], nn.Module], out: int = 6) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(Linear(4, 5), nn.ReLU(), layer(), nn.ReLU(), Linear(out, 2))


def two_branches(join: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Net(
        lambda s, x: s.c(join(s.a(x), s.b(x))), a=Linear(4, 6), b=Linear(4, 6), c=Linear(6, 2)
    )


def squeeze_excite() -> nn.Module:
    def forward(s, x):
        h = relu(s.a(x))
        gate = s.up(relu(s.down(h.mean((2, 3), keepdim=True)))).sigmoid()
        return s.c(h * gate)

    return Net(
        forward,
        a=nn.Conv2d(3, 6, 3),
        down=nn.Conv2d(6, 2, 1),
        up=nn.Conv2d(2, 6, 1),
        c=nn.Conv2d(6, 2, 1),
    )


def gated_residual() -> nn.Module:
    """h + h·b(x): h keeps its scale only if the gate has scale 1."""

    def forward(s, x):
        h = s.a(x)
        return s.c(h + h * s.b(x))

    return Net(forward, a=Linear(4, 6), b=Linear(4, 6), c=Linear(6, 2))


def layer_scale() -> nn.Module:
    def forward(s, x):
        h = s.a(x)
        return s.d(h + s.gamma * s.c(relu(s.b(h))))

    return Raw(
        forward,
        {"gamma": (5,)},
        a=Linear(4, 5),
        b=Linear(5, 6),
        c=Linear(6, 5),
        d=Linear(5, 2),
    )


def standardised_weight() -> nn.Module:
    """Rows of the weight are normalised, then multiplied by a learnt gain."""

    def forward(s, x):
        w = functional.batch_norm(s.w[None], None, None, weight=s.gain, training=True)[0]
        return s.c(relu(functional.linear(relu(s.a(x)), w)))

    return Raw(forward, {"w": (6, 5), "gain": (6,)}, a=Linear(4, 5), c=Linear(6, 2))


def tokens() -> nn.Module:
    """A class token and position embeddings, as in vision transformers."""

    def forward(s, x):
        h = torch.cat([s.token.expand(2, -1, -1), s.a(x)], 1) + s.position
        return s.c(relu(s.b(h))).mean(1)

    return Raw(
        forward,
        {"token": (1, 1, 5), "position": (1, 4, 5)},
        a=Linear(4, 5),
        b=Linear(5, 6),
        c=Linear(6, 2),
    )


def learnt_positions() -> nn.Module:
    """An embedding at constant indices: only the rows used are scaled."""
    return Net(
        lambda s, x: s.b(relu(s.a(x) + s.e(torch.arange(3)))),
        a=Linear(4, 5),
        e=nn.Embedding(7, 5),
        b=Linear(5, 2),
    )


def tied_embedding() -> nn.Module:
    return Net(
        lambda s, x: functional.linear(s.b(relu(s.a(s.e(x)))), s.e.weight),
        e=nn.Embedding(7, 5),
        a=Linear(5, 6),
        b=Linear(6, 5),
    )


def pruned() -> nn.Module:
    model = mlp(4, 5, 6, 3)
    with torch.no_grad():
        prune.l1_unstructured(model[2], "weight", 0.4)
        prune.random_structured(model[0], "weight", 0.3, dim=0)
    return model


def norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 1),
        nn.InstanceNorm2d(5, affine=True, track_running_stats=True),
        nn.ReLU(),
        nn.Conv2d(5, 6, 1),
        nn.InstanceNorm2d(6, affine=True),
        nn.Conv2d(6, 7, 1),
        nn.SyncBatchNorm(7),
        nn.Conv2d(7, 8, 1),
        nn.BatchNorm2d(8, affine=False),
        nn.Conv2d(8, 9, 1),
        nn.BatchNorm2d(9, track_running_stats=False),
        nn.Conv2d(9, 2, 1),
    )


def norms_of_rows() -> nn.Module:
    return nn.Sequential(
        Linear(4, 5),
        nn.LayerNorm(5),
        nn.ReLU(),
        Linear(5, 6),
        nn.RMSNorm(6),
        Linear(6, 7),
        nn.LayerNorm(7, elementwise_affine=False),
        Linear(7, 3),
        nn.LayerNorm(3, bias=False),
        Linear(3, 2),
    )


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, padding="same", padding_mode="circular"),
        nn.ReLU(),
        nn.Conv1d(4, 8, 2, dilation=2, groups=4),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 6, 3, groups=2, stride=2, output_padding=1),
        nn.ReLU(),
        nn.Conv1d(6, 2, 3, padding=1, padding_mode="reflect"),
    )


def zero_padded_shortcut() -> nn.Module:
    """A shortcut with fewer channels than the branch it joins."""
    return Net(
        lambda s, x: s.c(relu(functional.pad(relu(s.a(x)), (0, 0, 0, 0, 1, 2)) + s.b(x))),
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(3, 7, 1),
        c=nn.Conv2d(7, 2, 1),
    )


def linear_attention() -> nn.Module:
    """Attention without softmax; a column of ones beside the values sums up the weights."""

    def forward(s, x):
        q, k, v = relu(s.q(x)), relu(s.k(x)), functional.pad(s.v(x), (0, 1), value=1.0)
        sums = q @ (k.transpose(-1, -2) @ v)
        return s.out(sums[..., :-1] / (sums[..., -1:] + 0.1))

    layers = {name: nn.Linear(4, 3) for name in "qkv"}
    return Net(forward, **layers, out=nn.Linear(3, 2))


def zeroed(x: Tensor, part: object) -> Tensor:
    """A copy with a part overwritten by zeros."""
    x = x.clone()
    x[part].zero_()
    return x


def zero_joined_shortcut() -> nn.Module:
    def forward(s, x):
        h = relu(s.a(x))
        return s.c(relu(torch.cat([h, torch.zeros_like(h[:, :3])], 1) + s.b(x)))

    return Net(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 7, 1), c=nn.Conv2d(7, 2, 1))


def encoder(norm_first: bool) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        Linear(4, 8),
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0, norm_first=norm_first),
        Linear(8, 2),
    )


def recurrent(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Net(
        lambda s, x: s.d(relu(s.c(s.m(s.b(relu(s.a(x))))[0]))),
        a=Linear(4, 5),
        b=Linear(5, 5),
        m=kind(5, 6),
        c=Linear(6, 7),
        d=Linear(7, 2),
    )
