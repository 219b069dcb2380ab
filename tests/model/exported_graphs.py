"""ONNX graphs of torch modules, by the exporter that needs no package but onnx."""

import io
import warnings

import onnx
import torch
from torch import Tensor, nn


def exported(model: nn.Module, x: Tensor, *, opset: int = 17, fold: bool = False, **options):
    """The graph of a module in evaluation mode; `fold` folds batch norms into convolutions."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (x,),
            stream,
            dynamo=False,
            opset_version=opset,
            do_constant_folding=fold,
            **options,
        )
    return onnx.load_from_string(stream.getvalue())
