"""What we touch of an ONNX file, as Protocol Buffers messages, without the package `onnx`.

ONNX Runtime itself brings the package `protobuf`. Names and numbers of the fields are those of
onnx.proto (the ONNX IR specification); fields that are not declared here are kept as they are when
a model is written again. The messages live in a pool of their own, so that they and the package
`onnx` can be loaded side by side.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {"int": _FIELD.TYPE_INT64, "text": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES}

# Message → field → (number, kind, whether there may be many). Other kinds are messages above.
_SCHEMA: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Attribute": {"name": (1, "text", False), "i": (3, "int", False)},
    "Node": {
        "input": (1, "text", True),
        "output": (2, "text", True),
        "name": (3, "text", False),
        "op_type": (4, "text", False),
        "attribute": (5, "Attribute", True),
        "domain": (7, "text", False),
    },
    "Tensor": {
        "dims": (1, "int", True),
        "data_type": (2, "int", False),
        "name": (8, "text", False),
        "raw_data": (9, "bytes", False),
    },
    "Value": {"name": (1, "text", False)},
    "Graph": {
        "node": (1, "Node", True),
        "initializer": (5, "Tensor", True),
        "output": (12, "Value", True),
    },
    "Model": {"graph": (7, "Graph", False)},
}

# TensorProto.DataType, for the types of tensors that we write or read.
_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.int64): 7,
    np.dtype(np.float16): 10,
}
_DTYPES = {number: dtype for dtype, number in _TYPES.items()}


def read_model(data: bytes, name: Path) -> Any:
    """Return the model message of a file's bytes; `name` is what an error calls it."""
    try:
        return _MODEL.FromString(data)
    except DecodeError as error:
        raise ArtifactError(
            f"{name} is no whole ONNX file: {error}", hint="copy it again from its source"
        ) from error


def make_node(operator: str, inputs: list[str], output: str, *, domain: str = "") -> Any:
    """Return a node with one output, without attributes."""
    return _NODE(input=inputs, output=[output], name=output, op_type=operator, domain=domain)


def attribute(node: Any, name: str) -> int | None:
    """Return the whole number that a node has under a name, if it has one."""
    return next((each.i for each in node.attribute if each.name == name), None)


def make_tensor(name: str, array: NDArray[Any]) -> Any:
    """Return an initializer."""
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    number = _TYPES[array.dtype]
    return _TENSOR(dims=array.shape, data_type=number, name=name, raw_data=little.tobytes())


def tensor_array(tensor: Any) -> NDArray[Any] | None:
    """Return what an initializer holds; None where it is of another type, or not in one piece."""
    dtype = _DTYPES.get(tensor.data_type)
    shape = tuple(tensor.dims)
    if dtype is None or len(tensor.raw_data) != dtype.itemsize * math.prod(shape):
        return None
    return np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).reshape(shape)


def _message_classes() -> list[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package="model", syntax="proto2")
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, is_many) in fields.items():
            label = _FIELD.LABEL_REPEATED if is_many else _FIELD.LABEL_OPTIONAL
            added = described.field.add(name=name, number=number, label=label)
            added.type = _KINDS.get(kind, _FIELD.TYPE_MESSAGE)
            if kind not in _KINDS:
                added.type_name = f".model.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    wanted = ("Model", "Node", "Tensor")
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"model.{name}"))
        for name in wanted
    ]


_MODEL, _NODE, _TENSOR = _message_classes()
