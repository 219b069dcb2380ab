"""The catalogue of published architectures, by family, built small and with random values."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = dict[str, Tensor] | tuple[Tensor, ...]

# Leaves 3 x 3 positions of 4 images after five halvings: batch statistics of few values amplify
# rounding.
_IMAGE, _BATCH = 96, 4
_SEQUENCE = 7

# Family of every torchvision model whose name starts so, and options that make it small.
_TORCHVISION = {
    "alexnet": "AlexNet",
    "convnext": "ConvNeXt",
    "densenet": "DenseNet",
    "efficientnet": "EfficientNet",
    "googlenet": "Inception",
    "inception": "Inception",
    "maxvit": "MaxViT",
    "mnasnet": "MNASNet",
    "mobilenet": "MobileNet",
    "regnet": "RegNet",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "shufflenet": "ShuffleNet",
    "squeezenet": "SqueezeNet",
    "swin": "Swin",
    "vgg": "VGG",
    "vit": "ViT",
    "wide_resnet": "ResNet",
}
_TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "vit_b_16": {"image_size": 32},
    "vit_b_32": {"image_size": 96},
    "vit_l_16": {"image_size": 32},
    "vit_l_32": {"image_size": 96},
    "vit_h_14": {"image_size": 28},
}
_TORCHVISION_IMAGE = {
    "inception_v3": 299,  # its auxiliary head needs 17 x 17 positions
    "maxvit_t": 224,  # windows of 7 x 7 at 1/32 of the image
    "vit_b_16": 32,
    "vit_l_16": 32,
    "vit_h_14": 28,
}

_LARGE = (
    "vgg",
    "vit_l_",
    "vit_h_",
    "regnet_y_",
    "regnet_x_",
    "convnext_l",
    "wide_resnet",
    "efficientnet_v2",
)

# What the optimum of these needs (B, g and copies) does not fit 16 GB: random rescaling only.
_GIANTS = {
    "torchvision regnet_y_128gf",
    "torchvision vit_h_14",
}

_TIMM = {
    "ResNet": "resnet18 resnet26d resnet50 resnetblur50 resnetaa50 resnet50_gn seresnet50 "
    "ecaresnet26t skresnet18 resnest14d resnetv2_50 resnetv2_50x1_bit tresnet_m test_resnet",
    "NFNet": "nf_resnet26 nf_regnet_b0 dm_nfnet_f0 eca_nfnet_l0",
    "ResNeXt": "resnext50_32x4d resnext26ts",
    "RegNet": "regnetx_002 regnety_002 regnetz_b16",
    "VGG": "vgg11 vgg11_bn",
    "DenseNet": "densenet121 densenetblur121d rdnet_tiny",
    "MobileNet": "mobilenetv1_100 mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small "
    "mobileone_s0 lcnet_050",
    "GhostNet": "ghostnet_050 repghostnet_050",
    "Inception": "inception_v3 inception_v4 inception_resnet_v2 xception41",
    "EfficientNet": "efficientnet_b0 efficientnet_es efficientnet_lite0 efficientnetv2_rw_t "
    "tinynet_e",
    "MNASNet": "mnasnet_050 semnasnet_075",
    "Res2Net": "res2net50_26w_4s res2next50 dla60_res2net",
    "DLA": "dla34 dla46_c",
    "HRNet": "hrnet_w18_small",
    "RepVGG": "repvgg_a0 gernet_s repvit_m0_9",
    "VoVNet": "vovnet39a ese_vovnet19b_dw selecsls42 hgnet_tiny",
    "DarkNet": "darknet53 cspresnet50 cspdarknet53",
    "DPN": "dpn68",
    "ViT": "vit_tiny_patch16_224 deit_tiny_patch16_224 cait_xxs24_224 levit_128s pit_ti_224",
    "MLP-Mixer": "mixer_s32_224 resmlp_12_224 gmlp_ti16_224",
    "Swin": "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256",
    "ConvNeXt": "convnext_atto convnextv2_atto convmixer_768_32 poolformer_s12",
    "EfficientViT": "efficientvit_b0 efficientvit_m0",
    "FasterNet": "fasternet_t0 starnet_s1",
    "Hybrid": "coatnet_nano_rw_224 mobilevit_xxs edgenext_xx_small",
}
_TIMM_IMAGE = {
    "swinv2_tiny_window8_256": 128,
    "coatnet_nano_rw_224": 224,
    "inception_resnet_v2": 139,
    "inception_v3": 139,
    "inception_v4": 139,
}
_TIMM_RESIZED = ["vit", "deit", "cait", "pit", "mixer", "resmlp", "gmlp", "swin", "levit"]


@dataclass(frozen=True)
class Entry:
    """One architecture: how to build it and what to feed it."""

    name: str
    family: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    optimum: bool = True
    """Whether to rescale to the optimum as well, which takes several times the memory."""

    @property
    def library(self) -> str:
        return self.name.split()[0]

    def build(self) -> nn.Module:
        """The model in float32 with random values, the same every time."""
        torch.manual_seed(0)
        return randomised(self.make())


def load_torchvision() -> Any:
    """torchvision, also where its compiled operators are missing: no classifier needs them."""
    with suppress(ImportError, RuntimeError):
        return importlib.import_module("torchvision")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # the definitions live as long as the library object
    return importlib.import_module("torchvision")


_KEPT: list[Any] = []


def torchvision_names() -> list[str]:
    """Every classification model of torchvision."""
    models = load_torchvision().models
    return list(models.list_models(module=models))


def timm_names() -> list[str]:
    return [name for names in _TIMM.values() for name in names.split()]


def catalogue(*libraries: str) -> dict[str, Entry]:
    """All entries of the libraries, which have to be installed; small ones first."""
    makers = {
        "torchvision": _torchvision,
        "timm": _timm,
        "transformers": _transformers,
        "monai": _monai,
    }
    entries = [e for library in libraries or makers for e in makers[library]()]
    entries.sort(key=lambda e: e.name.split()[1].startswith(_LARGE))
    return {e.name: e for e in entries}


def _image(size: int) -> Callable[[], Inputs]:
    def draw() -> Inputs:
        torch.manual_seed(1)
        return (torch.randn(_BATCH, 3, size, size),)

    return draw


def _torchvision() -> Iterator[Entry]:
    models = load_torchvision().models
    for name in torchvision_names():
        family = next(f for prefix, f in _TORCHVISION.items() if name.startswith(prefix))
        options = {"weights": None, **_TORCHVISION_OPTIONS.get(name, {})}
        full = f"torchvision {name}"
        yield Entry(
            full,
            family,
            lambda name=name, options=options: models.get_model(name, **options),
            _image(_TORCHVISION_IMAGE.get(name, _IMAGE)),
            full not in _GIANTS,
        )


def _timm() -> Iterator[Entry]:
    load_torchvision()
    timm = importlib.import_module("timm")
    for family, names in _TIMM.items():
        for name in names.split():
            size = _TIMM_IMAGE.get(name, _IMAGE)
            resized = name.startswith(tuple(_TIMM_RESIZED))
            options = {"img_size": size} if resized else {}
            yield Entry(
                f"timm {name}",
                family,
                lambda name=name, options=options: timm.create_model(name, **options),
                _image(size),
            )


def _tokens(*names: str) -> Callable[[], Inputs]:
    def draw() -> Inputs:
        torch.manual_seed(1)
        return {name: torch.randint(2, 40, (2, _SEQUENCE)) for name in names}

    return draw


def _transformers() -> Iterator[Entry]:
    load_torchvision()
    library = importlib.import_module("transformers")

    def entry(
        name: str, family: str, kind: str, inputs: Callable[[], Inputs], **config: Any
    ) -> Entry:
        def make() -> nn.Module:
            model = getattr(library, kind)
            return model(model.config_class(**config))

        return Entry(f"transformers {name}", family, make, inputs)

    opt = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "ffn_dim": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "word_embed_proj_dim": 32,
        "activation_function": "relu",
        "use_cache": False,
    }
    yield entry("OPT", "OPT", "OPTForCausalLM", _tokens("input_ids"), **opt)
    yield entry(
        "OPT, norm after",
        "OPT",
        "OPTForCausalLM",
        _tokens("input_ids"),
        **{**opt, "do_layer_norm_before": False, "word_embed_proj_dim": 16},
    )
    t5 = {
        "vocab_size": 40,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "use_cache": False,
    }
    both = _tokens("input_ids", "decoder_input_ids")
    for kind in ("relu", "gated-relu"):
        yield entry(
            f"T5, {kind}", "T5", "T5ForConditionalGeneration", both, **t5, feed_forward_proj=kind
        )
    pixels = _image(_IMAGE)
    for layer in ("basic", "bottleneck"):
        yield entry(
            f"ResNet, {layer}",
            "ResNet",
            "ResNetForImageClassification",
            pixels,
            embedding_size=8,
            hidden_sizes=[16, 24, 32],
            depths=[2, 2, 2],
            layer_type=layer,
            num_labels=5,
        )
    for layer in ("x", "y"):
        yield entry(
            f"RegNet, {layer}",
            "RegNet",
            "RegNetForImageClassification",
            pixels,
            embedding_size=8,
            hidden_sizes=[16, 24, 32],
            depths=[1, 2, 2],
            groups_width=8,
            layer_type=layer,
            num_labels=5,
        )


def _monai() -> Iterator[Entry]:
    nets = importlib.import_module("monai.networks.nets")

    def inputs(axes: int) -> Callable[[], Inputs]:
        def draw() -> Inputs:
            torch.manual_seed(1)
            return (torch.randn(2, 1, *[32 if axes == 2 else 16] * axes),)

        return draw

    for axes in (2, 3):
        for norm in ("batch", "instance"):
            for units in (0, 2):
                yield Entry(
                    f"monai UNet {axes}d, {norm}, {units} units",
                    "UNet",
                    lambda axes=axes, norm=norm, units=units: nets.UNet(
                        spatial_dims=axes,
                        in_channels=1,
                        out_channels=3,
                        channels=(4, 8, 16),
                        strides=(2, 2),
                        num_res_units=units,
                        act="prelu",
                        norm=norm,
                    ),
                    inputs(axes),
                )
    yield Entry(
        "monai BasicUNet 2d",
        "UNet",
        lambda: nets.BasicUNet(spatial_dims=2, features=(4, 4, 8, 8, 16, 4)),
        inputs(2),
    )


def randomised(model: nn.Module) -> nn.Module:
    """Random statistics and affine parameters, a quarter negative; nothing is left at one value.

    Layer scales of 1e-6 and heads of zeros would hide what is wrong behind them.
    """
    with torch.no_grad():
        for module in model.modules():
            for name, x in module.named_buffers(recurse=False):
                if name == "running_mean":
                    x.normal_()
                elif name == "running_var":
                    x.uniform_(0.5, 2.0)
        for x in model.parameters():
            first = x.reshape(-1)[0]
            if x.numel() == 1:
                x.add_(0.1 * torch.randn(x.shape))
            elif not bool((x == first).all()):
                continue
            elif x.numel() > max(x.shape):
                x.normal_(std=0.02)
            elif first == 0:
                x.normal_(std=0.5)
            else:  # a gain; near 0 it would leave batch statistics of rounding alone
                x.uniform_(0.5, 1.5).mul_(torch.randint(0, 4, x.shape).clamp(max=1) * 2 - 1)
    return model


# Least share of the channels that the mathematics allows, by family.
FLOORS: dict[str, float] = {
    "AlexNet": 1.0,
    "ConvNeXt": 1.0,
    "DLA": 1.0,
    "DPN": 1.0,
    "DarkNet": 1.0,
    "DenseNet": 1.0,
    "EfficientNet": 1.0,
    "EfficientViT": 1.0,
    "FasterNet": 1.0,
    "GhostNet": 1.0,
    "HRNet": 1.0,
    "Hybrid": 1.0,
    "Inception": 1.0,
    "MLP-Mixer": 1.0,
    "MNASNet": 1.0,
    "MaxViT": 1.0,
    "MobileNet": 1.0,
    "NFNet": 1.0,
    "OPT": 1.0,
    "RegNet": 1.0,
    "RepVGG": 1.0,
    "Res2Net": 1.0,
    "ResNeXt": 1.0,
    "ResNet": 1.0,
    "ShuffleNet": 1.0,
    "SqueezeNet": 1.0,
    "Swin": 1.0,
    "T5": 1.0,
    "UNet": 1.0,
    "VGG": 1.0,
    "ViT": 1.0,
    "VoVNet": 1.0,
}
