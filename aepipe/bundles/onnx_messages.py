"""Messages of ONNX files, read and written by protobuf alone: scoring does without the onnx package.

Fields that are not listed here are kept when a message is written again. Numbers and types are from onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, INT32, INT64, DOUBLE = 1, 6, 7, 11
"""Values of `TensorProto.data_type`."""

_MESSAGES = {
    "ModelProto": "graph 7 GraphProto, training_info 20 TrainingInfoProto*, functions 25 FunctionProto*",
    "GraphProto": "node 1 NodeProto*, name 2 string, initializer 5 TensorProto*, sparse_initializer 15 "
    "SparseTensorProto*, input 11 ValueInfoProto*, output 12 ValueInfoProto*",
    "NodeProto": "input 1 string*, output 2 string*, name 3 string, op_type 4 string, domain 7 string, "
    "attribute 5 AttributeProto*",
    "AttributeProto": "name 1 string, i 3 int64, t 5 TensorProto, g 6 GraphProto, ints 8 int64*, tensors 10 "
    "TensorProto*, graphs 11 GraphProto*, sparse_tensor 22 SparseTensorProto, sparse_tensors 23 SparseTensorProto*",
    "TensorProto": "dims 1 int64*, data_type 2 int32, float_data 4 float*, int32_data 5 int32*, int64_data 7 int64*, "
    "name 8 string, raw_data 9 bytes, double_data 10 double*, external_data 13 StringStringEntryProto*, "
    "data_location 14 int32",
    "ValueInfoProto": "name 1 string, type 2 TypeProto",
    "TypeProto": "tensor_type 1 TensorTypeProto",
    "TensorTypeProto": "elem_type 1 int32, shape 2 TensorShapeProto",
    "TensorShapeProto": "dim 1 DimensionProto*",
    "DimensionProto": "dim_value 1 int64, dim_param 2 string",
    "SparseTensorProto": "dims 3 int64*",
    "StringStringEntryProto": "key 1 string, value 2 string",
    "TrainingInfoProto": "",
    "FunctionProto": "name 1 string",
}
"""Fields of each message: name, number and type; * for repeated ones."""


def parse_model(data: bytes) -> Any:
    """Parse a `ModelProto`. Raises DecodeError of protobuf if the bytes are not one."""
    model = _classes()["ModelProto"]()
    model.ParseFromString(data)
    return model


def values_of_tensor(tensor: Any) -> NDArray[np.float64]:
    """Return the values of a tensor of float, double, int32 or int64, flat. Raises ValueError if their number is wrong.

    tensor: a `TensorProto`.
    """
    dtype, field = _STORED[tensor.data_type]
    stored = np.frombuffer(tensor.raw_data, dtype) if tensor.HasField("raw_data") else getattr(tensor, field)
    values = np.asarray(stored, np.float64)
    if values.size != int(np.prod(tensor.dims)):
        raise ValueError(f"tensor has {values.size} values: expected shape {list(tensor.dims)}")
    return values


_STORED = {
    FLOAT: ("<f4", "float_data"),
    DOUBLE: ("<f8", "double_data"),
    INT32: ("<i4", "int32_data"),
    INT64: ("<i8", "int64_data"),
}


@cache
def _classes() -> dict[str, Any]:
    """Build the classes of the messages, in a pool of their own: the onnx package may be loaded too."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="aepipe/onnx.proto", package="onnx", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for line in filter(None, fields.split(", ")):
            name, number, kind = line.split(" ")
            label = field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            field = described.field.add(name=name, number=int(number), label=label)
            if kind in _MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".onnx.{kind}"
            else:
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.removeprefix("onnx."): kind for name, kind in found.items()}
