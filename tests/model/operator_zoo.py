"""One small model per operator and trap, with the number of neurons the mathematics allows."""

import math

import torch
from operator_modules import (
    Raw,
    attend,
    between_linear,
    conv,
    convolutions,
    encoder,
    gated_residual,
    layer_scale,
    learnt_positions,
    linear_attention,
    norms,
    norms_of_rows,
    pruned,
    recurrent,
    squeeze_excite,
    standardised_weight,
    tied_embedding,
    tokens,
    two_branches,
    zero_joined_shortcut,
    zero_padded_shortcut,
    zeroed,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from zoo import Case, Net, between, mlp, trained

relu = functional.relu
Linear = nn.Linear

IMAGE, ROWS, SEQUENCE = (2, 3, 6, 6), (2, 4), (2, 3, 4)
INDEX = torch.tensor([5, 1, 0, 3, 2, 4])

MOVES: dict[str, Case] = {
    "split": Case(between(lambda h: torch.cat(h.split([2, 4], 1)[::-1], 1)), ROWS, 11),
    "chunk": Case(between(lambda h: torch.cat([h.chunk(3, 1)[i] for i in (2, 0, 1)], 1)), ROWS, 11),
    "unbind": Case(
        between(lambda h: torch.stack(h.view(-1, 2, 3).unbind(1), 2).flatten(1)), ROWS, 11
    ),
    "slice": Case(between(lambda h: torch.cat([h[:, 3:], h[:, :3]], 1)), ROWS, 11),
    "narrow": Case(
        between(lambda h: torch.cat([h.narrow(1, 2, 4), h.narrow(1, 0, 2)], 1)), ROWS, 11
    ),
    "select": Case(conv(lambda h: h.select(2, 1)[:, :, None] * h[:, :, 2:3].sign()), IMAGE, 6),
    "stack": Case(conv(lambda h: torch.stack([h, 2 * h], 2).flatten(1, 2), 6, 12), IMAGE, 6),
    "pad_zeros": Case(conv(lambda h: functional.pad(h, (1, 2, 0, -1))), IMAGE, 6),
    "pad_channels": Case(zero_padded_shortcut, IMAGE, 7),
    "overwritten_by_zeros": Case(conv(lambda h: zeroed(h, (slice(None), slice(1, 3)))), IMAGE, 8),
    "overwritten_by_others": Case(
        conv(lambda h: torch.slice_scatter(h, 2 * h[:, 4:6], 1, 1, 3)), IMAGE, 6
    ),
    "joined_zeros": Case(zero_joined_shortcut, IMAGE, 7),
    "pad_infinity": Case(
        conv(
            lambda h: functional.max_pool2d(functional.pad(h, (0, 1, 0, 1), value=-math.inf), 2, 1)
        ),
        IMAGE,
        6,
    ),
    "pad_one": Case(conv(lambda h: functional.pad(h, (1, 1), value=1.0)), IMAGE, 0),
    **{
        f"pad_{kind}": Case(
            conv(lambda h, kind=kind: functional.pad(h, (1, 2, 0, 1), mode=kind)), IMAGE, 6
        )
        for kind in ("reflect", "replicate", "circular")
    },
    "repeat": Case(conv(lambda h: h.repeat(1, 2, 1, 2), 6, 12), IMAGE, 6),
    "tile": Case(conv(lambda h: h.tile(2, 1, 1), 6, 12), IMAGE, 6),
    "repeat_interleave": Case(conv(lambda h: h.repeat_interleave(2, 1), 6, 12), IMAGE, 6),
    "roll": Case(conv(lambda h: h.roll((1, 2), (1, 2))), IMAGE, 6),
    "flip": Case(conv(lambda h: h.flip(1, 3)), IMAGE, 6),
    "index": Case(conv(lambda h: h[:, [5, 1, 0, 3, 2, 4]]), IMAGE, 6),
    "index_select": Case(conv(lambda h: h.index_select(1, INDEX)), IMAGE, 6),
    "gather": Case(between(lambda h: h.gather(1, INDEX.expand(2, 6))), ROWS, 5, ("aten.gather",)),
    "pixel_shuffle": Case(conv(lambda h: functional.pixel_shuffle(h, 2), 8, 2), IMAGE, 2),
    "pixel_unshuffle": Case(conv(lambda h: functional.pixel_unshuffle(h, 2), 6, 24), IMAGE, 6),
    "channel_shuffle": Case(conv(lambda h: functional.channel_shuffle(h, 3)), IMAGE, 6),
    "permute": Case(
        conv(lambda h: h.movedim(1, -1).contiguous().swapaxes(1, 2).permute(0, 3, 2, 1)),
        IMAGE,
        6,
    ),
    "rot90": Case(conv(lambda h: h.rot90(1, (2, 3))), IMAGE, 6),
    "einsum": Case(conv(lambda h: torch.einsum("bchw->bcwh", h)), IMAGE, 6),
    "copied_into_zeros": Case(
        between(lambda h: torch.zeros(2, 6, dtype=h.dtype).copy_(h.flip(1))), ROWS, 11
    ),
    "unfold": Case(conv(lambda h: h.unfold(2, 2, 2).sum(-1)), IMAGE, 6),
    "im2col": Case(conv(lambda h: functional.unfold(h, 2).unflatten(-1, (5, 5)), 6, 24), IMAGE, 6),
    "bits": Case(between(lambda h: h.view(torch.int64).view(h.dtype)), ROWS, 5, ("aten.view",)),
}

POSITIONS: dict[str, Case] = {
    **{
        mode: Case(conv(lambda h, o=options: functional.interpolate(h, **o)), IMAGE, 6)
        for mode, options in {
            "nearest": {"scale_factor": 2},
            "bilinear": {"scale_factor": 2, "mode": "bilinear"},
            "bicubic": {"size": (9, 7), "mode": "bicubic", "align_corners": True},
            "antialias": {"size": 4, "mode": "bilinear", "antialias": True},
        }.items()
    },
    "amax": Case(conv(lambda h: h.amax((2, 3), keepdim=True)), IMAGE, 6),
    "max_and_min": Case(conv(lambda h: h.max(-1)[0].min(-1)[0][:, :, None, None]), IMAGE, 6),
    "max_pool_with_indices": Case(
        conv(lambda h: functional.max_pool2d(h, 2, return_indices=True)[0]), IMAGE, 6
    ),
    "cumsum": Case(conv(lambda h: h.cumsum(2)), IMAGE, 6),
    "sum": Case(conv(lambda h: h.sum((2, 3), keepdim=True)), IMAGE, 6),
    "lp_pool": Case(conv(lambda h: functional.lp_pool2d(h, 2, 2)), IMAGE, 0, ("aten.pow",)),
    "fractional_pool": Case(
        conv(lambda h: functional.fractional_max_pool2d(h, 2, output_size=3)),
        IMAGE,
        0,
        ("aten.fractional_max_pool2d",),
    ),
}

POINTWISE: dict[str, Case] = {
    "maximum_of_zeros": Case(between(lambda h: torch.maximum(h, torch.zeros_like(h))), ROWS, 11),
    "maximum_of_zero": Case(between(lambda h: torch.maximum(h, torch.tensor(0.0))), ROWS, 11),
    "maximum_of_one": Case(
        between(lambda h: torch.maximum(h, torch.ones_like(h))), ROWS, 5, ("aten.maximum",)
    ),
    "maxout": Case(between(lambda h: torch.maximum(h[:, :3], h[:, 3:]).repeat(1, 2)), ROWS, 8),
    "where": Case(between(lambda h: torch.where(h > 0, h, 0.0)), ROWS, 11),
    "where_leaky": Case(between(lambda h: torch.where(h > 0, h, 0.1 * h)), ROWS, 11),
    "where_one": Case(between(lambda h: torch.where(h > 0, h, 1.0)), ROWS, 5, ("aten.where",)),
    "above_one": Case(between(lambda h: h * (h > 1)), ROWS, 5, ("aten.gt",)),
    "mask": Case(between(lambda h: h * (h > 0)), ROWS, 11),
    "masked_fill": Case(between(lambda h: h.masked_fill(h < 0, 0.0)), ROWS, 11),
    "abs": Case(between(torch.abs), ROWS, 11),
    "rrelu": Case(lambda: mlp(4, 5, 6, 3, activation=nn.RReLU), ROWS, 11),
    "dropout2d": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Dropout2d(), nn.Conv2d(4, 2, 1)),
        IMAGE,
        4,
    ),
    "alpha_dropout": Case(
        lambda: nn.Sequential(
            Linear(4, 5), nn.ReLU(), nn.AlphaDropout(), Linear(5, 6), nn.ReLU(), Linear(6, 2)
        ),
        ROWS,
        6,
    ),
    "silu": Case(between(functional.silu), ROWS, 5, ("aten.silu",)),
    "plus_zeros": Case(between(lambda h: relu(h + torch.ones(6))), ROWS, 5, ("aten.add",)),
    "square": Case(between(lambda h: relu(h) ** 2), ROWS, 11),
    "cube": Case(between(lambda h: relu(h).pow(3)), ROWS, 11),
    "root": Case(between(lambda h: relu(h) ** 0.5), ROWS, 5, ("aten.pow",)),
    "reglu": Case(two_branches(lambda a, b: a * relu(b)), ROWS, 12),
    "reglu_into_tanh": Case(
        two_branches(lambda a, b: torch.tanh(a * relu(b))), ROWS, 6, ("aten.tanh",)
    ),
    "swiglu": Case(two_branches(lambda a, b: a * functional.silu(b)), ROWS, 6, ("aten.silu",)),
    "quotient": Case(two_branches(lambda a, b: a / b.exp()), ROWS, 6, ("aten.exp",)),
    "scaled_quotient": Case(two_branches(lambda a, b: a / b), ROWS, 0, ("aten.div",)),
    "sum_of_products": Case(two_branches(lambda a, b: relu(a * b) + a), ROWS, 6),
    "square_joins_sum": Case(two_branches(lambda a, b: relu(a * a) + b), ROWS, 6),
    "powers_that_clash": Case(two_branches(lambda a, b: a.pow(2) + b.pow(3)), ROWS, 0),
    "glu": Case(
        lambda: nn.Sequential(Linear(4, 6), nn.ReLU(), Linear(6, 10), nn.GLU(), Linear(5, 3)),
        ROWS,
        11,
    ),
    "squeeze_excite": Case(squeeze_excite, IMAGE, 8, ("aten.sigmoid",)),
    "gated_residual": Case(gated_residual, ROWS, 6),
    "normalize": Case(
        between(functional.normalize), ROWS, 5, ("aten.linalg_vector_norm", "aten.clamp_min")
    ),
}

LAYERS: dict[str, Case] = {
    "norms": Case(lambda: trained(norms()), (4, 3, 5, 5), 31),
    "norms_of_rows": Case(norms_of_rows, ROWS, 14),
    "embedding": Case(
        lambda: nn.Sequential(nn.Embedding(7, 5, padding_idx=0), *mlp(5, 6, 3)), (2, 3), 11
    ),
    "learnt_positions": Case(learnt_positions, SEQUENCE, 5),
    "bilinear_layer": Case(
        lambda: Net(
            lambda s, x: s.d(relu(s.c(relu(s.a(x)), relu(s.b(x))))),
            a=Linear(4, 5),
            b=Linear(4, 3),
            c=nn.Bilinear(5, 3, 6),
            d=Linear(6, 2),
        ),
        ROWS,
        14,
    ),
    "convolutions": Case(convolutions, (2, 3, 8), 18),
    "convolutions_3d": Case(
        lambda: nn.Sequential(
            nn.Conv3d(2, 4, 2, padding="same"),
            nn.ReLU(),
            nn.ConvTranspose3d(4, 4, 2, groups=4),
            nn.ReLU(),
            nn.Conv3d(4, 2, 1),
        ),
        (1, 2, 3, 3, 3),
        8,
    ),
    "layer_scale": Case(layer_scale, ROWS, 16),
    "affine": Case(
        lambda: Raw(
            lambda s, x: s.b(relu(torch.addcmul(s.shift, s.gain, s.a(x), value=2))),
            {"gain": (5,), "shift": (5,)},
            a=Linear(4, 5),
            b=Linear(5, 2),
        ),
        ROWS,
        10,
    ),
    "standardised_weight": Case(standardised_weight, ROWS, 7),
    "scalar_gain": Case(
        lambda: Raw(
            lambda s, x: s.b(s.gain * relu(s.a(x))), {"gain": ()}, a=Linear(4, 5), b=Linear(5, 2)
        ),
        ROWS,
        6,
    ),
    "added_parameter": Case(
        lambda: Raw(
            lambda s, x: s.b(relu(s.a(x) + s.shift)),
            {"shift": (5,)},
            a=Linear(4, 5, bias=False),
            b=Linear(5, 2),
        ),
        ROWS,
        5,
    ),
    "tokens": Case(tokens, SEQUENCE, 11),
    "matmul": Case(
        lambda: Raw(
            lambda s, x: relu(relu(x @ s.w) @ s.v).mean(1) @ s.u,
            {"w": (4, 5), "v": (5, 6), "u": (6,)},
        ),
        SEQUENCE,
        11,
    ),
    "matmul_from_the_left": Case(
        lambda: Raw(lambda s, x: s.v @ relu(s.w @ x), {"w": (5, 3), "v": (2, 5)}),
        SEQUENCE,
        5,
    ),
    "addmm": Case(
        lambda: Raw(
            lambda s, x: torch.addmm(s.b, relu(torch.addmm(s.a, x, s.w, alpha=2)), s.v, beta=3),
            {"w": (4, 5), "a": (5,), "v": (5, 2), "b": (2,)},
        ),
        ROWS,
        5,
    ),
    "batched_weights": Case(
        lambda: Raw(
            lambda s, x: torch.bmm(relu(torch.bmm(x, s.w)), s.v), {"w": (2, 4, 5), "v": (2, 5, 3)}
        ),
        SEQUENCE,
        10,
    ),
    "einsum_with_weights": Case(
        lambda: Raw(
            lambda s, x: torch.einsum(
                "bij,jk->bik", relu(torch.einsum("bij,jk->bik", x, s.w)), s.v
            ),
            {"w": (4, 5), "v": (5, 2)},
        ),
        SEQUENCE,
        5,
    ),
    "constant_matrix": Case(between(lambda h: h @ torch.ones(6, 6, dtype=h.dtype)), ROWS, 6),
    "attention": Case(attend(lambda m, q, k, v: m(q, k, v)[0]), SEQUENCE, 40, ("aten.softmax",)),
    "flash_attention": Case(
        attend(lambda m, q, k, v: m(q, k, v, need_weights=False)[0]), SEQUENCE, 40
    ),
    "self_attention": Case(
        attend(lambda m, q, k, v: m(q, q, q, need_weights=False)[0]), SEQUENCE, 24
    ),
    "attention_of_other_widths": Case(
        attend(lambda m, q, k, v: m(q, k, v, need_weights=False)[0], kdim=7, vdim=6), SEQUENCE, 37
    ),
    "attention_with_bias_kv": Case(
        attend(
            lambda m, q, k, v: m(q, k, v, need_weights=False)[0],
            add_bias_kv=True,
            add_zero_attn=True,
        ),
        SEQUENCE,
        40,
    ),
    "linear_attention": Case(linear_attention, SEQUENCE, 3, ("aten.add",)),
    "encoder_post_norm": Case(encoder(False), SEQUENCE, 28),
    "encoder_pre_norm": Case(encoder(True), SEQUENCE, 36),
    "lstm": Case(recurrent(nn.LSTM), SEQUENCE, 12, ("aten.lstm",)),
    "gru": Case(recurrent(nn.GRU), SEQUENCE, 12, ("aten.gru",)),
}

PARAMETERS: dict[str, Case] = {
    "packed_rows": Case(
        lambda: Raw(
            lambda s, x: s.c(relu(sum(relu(functional.linear(x, w)) for w in s.w.chunk(2)))),
            {"w": (10, 4)},
            c=Linear(5, 2),
        ),
        ROWS,
        5,
    ),
    "packed_matrices": Case(
        lambda: Raw(
            lambda s, x: s.c(torch.cat([relu(functional.linear(x, w)) for w in s.w.unbind(0)], 1)),
            {"w": (2, 5, 4)},
            c=Linear(10, 2),
        ),
        ROWS,
        10,
    ),
    "overwritten_bias": Case(
        lambda: Raw(
            lambda s, x: s.c(relu(functional.linear(x, s.w, zeroed(s.b, slice(1, 3))))),
            {"w": (5, 4), "b": (5,)},
            c=Linear(5, 2),
        ),
        ROWS,
        5,
    ),
    "overlapping_slices": Case(
        lambda: Raw(
            lambda s, x: functional.linear(
                relu(functional.linear(relu(functional.linear(x, s.w[:4])), s.w[1:5])), s.w[2:]
            ),
            {"w": (6, 4)},
        ),
        ROWS,
        0,
    ),
    "flattened_weight": Case(
        lambda: Raw(
            lambda s, x: s.c(relu(functional.linear(x, s.w.flatten(1)))),
            {"w": (5, 4, 1)},
            c=Linear(5, 2),
        ),
        ROWS,
        5,
    ),
    "weight_norm": Case(
        between_linear(lambda: parametrizations.weight_norm(Linear(5, 6))), ROWS, 7
    ),
    "spectral_norm": Case(
        between_linear(lambda: parametrizations.spectral_norm(Linear(5, 6))), ROWS, 1
    ),
    "pruned": Case(pruned, ROWS, 11),
    "tied_embedding": Case(tied_embedding, (2, 3), 11),
    "three_times": Case(
        lambda: Net(
            lambda s, x: s.c(
                relu(s.b(relu(s.b(relu(s.b(relu(s.a(x)))))))),
            ),
            a=Linear(4, 5),
            b=Linear(5, 5, bias=False),
            c=Linear(5, 3),
        ),
        ROWS,
        6,
    ),
}

OPERATORS: dict[str, Case] = {**MOVES, **POSITIONS, **POINTWISE, **LAYERS, **PARAMETERS}
INTEGER_INPUTS = {"embedding", "tied_embedding"}


def inputs_of(name: str) -> tuple[Tensor, ...]:
    shape = OPERATORS[name].inputs
    if name in INTEGER_INPUTS:
        return (torch.arange(shape[0] * shape[1]).reshape(shape),)
    return (torch.randn(shape, dtype=torch.float64),)
