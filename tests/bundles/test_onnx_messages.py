"""Messages of ONNX files, against the onnx package."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.onnx_messages import _MESSAGES, parse_model, values_of_tensor


@pytest.mark.parametrize("message", [name for name in _MESSAGES if hasattr(onnx, name)])
def test_fields_have_the_numbers_and_types_of_onnx(message: str) -> None:
    ours = type(parse_model(b"")).DESCRIPTOR.file.message_types_by_name[message]
    theirs = getattr(onnx, message).DESCRIPTOR

    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated), field.name
        assert field.type == other.type or other.enum_type is not None, field.name


def test_a_graph_that_is_read_and_written_again_is_the_same(linear: Bundle) -> None:
    for name in linear.manifest.parts:
        data, _ = linear.part(name)

        again = parse_model(data).SerializeToString()

        assert onnx.ModelProto.FromString(again) == onnx.ModelProto.FromString(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("is_raw", [True, False])
def test_values_are_those_of_onnx(dtype: type, is_raw: bool) -> None:
    values = np.array([[1, 2, 3], [4, 5, -6]], dtype)
    tensor = numpy_helper.from_array(values)
    if not is_raw:
        tensor = onnx.helper.make_tensor("t", tensor.data_type, values.shape, values.ravel().tolist())
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))

    (found,) = parse_model(model.SerializeToString()).graph.initializer

    np.testing.assert_array_equal(values_of_tensor(found), values.ravel())


def test_a_tensor_without_all_values_is_refused() -> None:
    tensor = onnx.TensorProto(dims=[3], data_type=1, raw_data=b"\0" * 8)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))

    with pytest.raises(ValueError, match="tensor has 2 values: expected shape"):
        values_of_tensor(parse_model(model.SerializeToString()).graph.initializer[0])
