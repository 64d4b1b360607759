"""Traces torch modules into ONNX, narrows their networks to fewer bits, and runs the result.

The exporter is the one that traces (``dynamo=False``): it is in every torch from 2.4 to 2.13, needs no package but
``onnx``, and what is exported here has no branches that depend on data.
"""

from __future__ import annotations

import inspect
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 17
PRECISIONS = ("float32", "float16", "int8")
_LAYERS = ("Gemm", "MatMul")


def trace(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str], prune: bool) -> Any:
    """The ONNX model of a module; with ``prune`` without the inputs that change nothing."""
    import onnx

    _know_more()
    file = io.BytesIO()
    export: Any = torch.onnx.export
    chosen = {"dynamo": False} if "dynamo" in inspect.signature(export).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: shapes that it takes for constants are
        export(module, example, file, input_names=inputs, output_names=outputs, opset_version=OPSET, **chosen)
    model = onnx.load_from_string(file.getvalue())
    model.producer_name = "mimickit-hydra"
    if prune:
        used = {name for node in model.graph.node for name in node.input}
        for unused in [i for i in model.graph.input if i.name not in used]:
            model.graph.input.remove(unused)
    onnx.checker.check_model(model)
    return model


def _know_more() -> None:
    """Teach the exporter what it lacks, and a cross product of a third of the operators of its own."""

    def constant(g: Any, value: Any) -> Any:
        return g.op("Constant", value_t=torch.tensor(value))

    def sinc(g: Any, x: Any) -> Any:
        at_zero, one = g.op("Equal", x, constant(g, 0.0)), constant(g, 1.0)
        angle = g.op("Where", at_zero, one, g.op("Mul", x, constant(g, torch.pi)))
        return g.op("Where", at_zero, one, g.op("Div", g.op("Sin", angle), angle))

    def cross(g: Any, a: Any, b: Any, dim: Any) -> Any:
        def turned(x: Any, order: list[int]) -> Any:
            return g.op("Gather", x, constant(g, order), axis_i=-1)

        up, down = [1, 2, 0], [2, 0, 1]
        left, right = (g.op("Mul", turned(a, i), turned(b, j)) for i, j in ((up, down), (down, up)))
        return g.op("Sub", left, right)

    def copysign(g: Any, size: Any, sign: Any) -> Any:
        size = g.op("Abs", size)
        return g.op("Where", g.op("Less", sign, constant(g, 0.0)), g.op("Neg", size), size)

    torch.onnx.register_custom_op_symbolic("aten::sinc", sinc, OPSET)
    torch.onnx.register_custom_op_symbolic("aten::copysign", copysign, OPSET)
    torch.onnx.register_custom_op_symbolic("aten::linalg_cross", cross, OPSET)


def narrowed(model: Any, precision: str) -> Any:
    """The model with the matrices of its network in float16 or int8; all else stays as it is."""
    import onnx

    if precision == "float16":
        _halve(model)
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "int8.onnx"
            logging.disable(logging.WARNING)  # an advice that is for networks of images
            try:
                quantize_dynamic(model, out, op_types_to_quantize=list(_LAYERS), weight_type=QuantType.QInt8)
            finally:
                logging.disable(logging.NOTSET)
            return onnx.load(str(out))
    return model


def _halve(model: Any) -> None:
    """Store the matrices in half precision; they are multiplied in single, as CPUs do."""
    from onnx import TensorProto, helper, numpy_helper

    used = {name for node in model.graph.node if node.op_type in _LAYERS for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in used]:
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), f"{tensor.name}_half")
        model.graph.node.insert(0, helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(half)


def session_of(data: bytes) -> Any:
    """An onnxruntime session on one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
