"""Why channels of the architectures in `families` keep their scale, sorted by what is behind it."""

import re

from families import Entry

# Why a channel keeps its scale, by the reason that the package gives. Whatever is not on this list
# fails: nobody can hide a gap behind a new reason.
_FUNCTIONS = (
    "gelu silu mish elu softplus sigmoid tanh hardtanh hardsigmoid hardswish softmax log_softmax "
    "exp log"
)
_MATHEMATICAL = {
    r"model output": "model output",
    r"is stored in the model's state": "model output",
    r"aten\.\w*norm\w* in \S+ divides out the scale of its input( in training mode)?": "normalised",
    rf"feeds aten\.({_FUNCTIONS.replace(' ', '|')}) in \S+(: it has no scaling rule)?": (
        "function that is not homogeneous"
    ),
    r"feeds the gate of \S+ in \S+": "function that is not homogeneous",
    r"decides the weights of \S+ in \S+": "attention weights",
    r"feeds \S+ in \S+: a constant is added": "constant added",
    r"feeds \S+ in \S+: it compares with or chooses a constant other than 0": "constant added",
    r"\S+ in \S+: the (other operand|product) is pinned": "tied",
    r"it is (mixed with a pinned channel|tied to pinned channels)": "tied",
    r"parameter '\S+' is shared or used more than once": "tied",
}
# Reasons that are mathematical in these models, because of what the model does there.
_EXPLAINED = [
    # A learnt bias of attention scores, where the mask lets them pass.
    ("transformers T5.*", r"feeds aten\.where in \S+Attention", "attention weights"),
    # Lengths to divide by: of queries and keys before they meet, of channels after GELU.
    (
        "timm (swinv2|convnextv2|edgenext).*|torchvision swin_v2.*",
        r"feeds aten\.linalg_vector_norm in \S+: it has no scaling rule",
        "normalised",
    ),
    # The weights are standardised first.
    (
        "timm (resnetv2_50x1_bit|nf_.*|dm_nfnet.*|eca_nfnet.*)",
        r"the weight of aten\.conv2d in \S+ is not a parameter",
        "normalised",
    ),
    # The bias of the keys is a buffer of zeros that is not trained.
    ("timm swinv2.*", r"the weight of aten\.linear in \S+ is not a parameter", "constant added"),
]
# What the mathematics would allow and a rule is missing for.
_HOMOGENEOUS = "gather scatter scatter_add index_put index_add topk sort median linalg_vector_norm"
_GAPS = {
    rf"feeds aten\.({_HOMOGENEOUS.replace(' ', '|')}) in \S+: it has no scaling rule": "no rule",
    r"feeds \S+ in \S+: its rule is for another form of it, with an argument .*": "no such form",
    r"feeds \S+ in \S+: its index is not a constant": "index not constant",
    r"feeds \S+ in \S+: it handles an empty tensor": "empty tensor",
}


def kind_of(entry: Entry, reason: str) -> tuple[str, bool]:
    """Why a channel is pinned, in short, and whether that is mathematical."""
    for pattern, kind in _MATHEMATICAL.items():
        if re.fullmatch(pattern, reason):
            return kind, True
    for models, pattern, kind in _EXPLAINED:
        if re.fullmatch(models, entry.name) and re.fullmatch(pattern, reason):
            return kind, True
    for pattern, kind in _GAPS.items():
        if re.fullmatch(pattern, reason):
            return kind, False
    raise AssertionError(f"{entry.name}: is this reason mathematical? '{reason}'")
