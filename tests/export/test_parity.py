from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import parser
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.export.parity import ROWS, check_parity
from aepipe.layout import Port
from aepipe.models import families
from aepipe.models.base import Part
from aepipe.models.export_parts import standard_parts
from tests.support.layouts import TEXT


class Affine(nn.Module):
    """Two numbers per row to 2 x - 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


class Coded(nn.Module):
    """Numbers to their signs, as codes."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).int()


class Ranked(nn.Module):
    """Two numbers to the index and the value of the larger one."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        top = x.topk(2, dim=1)
        return top.indices.int(), top.values


def _part(module: nn.Module, *outputs: Port, **tolerance: float) -> Part:
    return Part("part", module, (Port("x", "float32", (2,)),), outputs, **tolerance)


def _graph(body: str, outputs: str = "float[rows, 2] y") -> bytes:
    text = f'<ir_version: 9, opset_import: ["" : 20]> part (float[rows, 2] x) => ({outputs}) {{ {body} }}'
    return bytes(parser.parse_model(text).SerializeToString())


def _rows(scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    return (offset + scale * np.random.default_rng(0).normal(size=(512, 2))).astype(np.float32)


REAL = Port("y", "float32", (2,))
CODE = Port("y", "int32", (2,))
EXACT = "two = Constant <value_float = 2.0> () one = Constant <value_float = 1.0> () d = Mul(x, two) y = Sub(d, one)"
WRONG = EXACT.replace("1.0", "1.001")
POSITIVE = "nil = Constant <value_float = {}> () p = Greater(x, nil) y = Cast <to = 6> (p)"


def test_the_graph_of_the_module_itself_is_found_equal() -> None:
    parity = check_parity(_part(Affine(), REAL), _graph(EXACT), [_rows()])

    assert parity.faults == ()
    assert parity.differences == {str(rows): {"y": {"abs": 0.0, "rel": 0.0}} for rows in ROWS}


def test_a_wrong_graph_is_reported_with_its_differences_per_number_of_rows() -> None:
    parity = check_parity(_part(Affine(), REAL), _graph(WRONG), [_rows()])

    assert len(parity.faults) == 3
    assert parity.faults[2].startswith("part.y at 512 rows exceeds the tolerance: expected 0.0001 relative")
    assert "got a difference of 0.001," in parity.faults[2]
    assert parity.differences["512"]["y"]["abs"] == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_tolerance_is_relative_to_the_size_of_the_column(scale: float) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.tensor([scale, 1.0])

    factors = "f = Constant <value_floats = [{}, 1.0]> () y = Mul(x, f)"
    part = _part(Scaled(), REAL)

    assert check_parity(part, _graph(factors.format(scale * (1 + 1e-5))), [_rows()]).faults == ()
    assert check_parity(part, _graph(factors.format(scale * (1 + 1e-3))), [_rows()]).faults != ()


def test_outputs_close_to_zero_are_compared_relative_to_the_column_spread() -> None:
    off = EXACT.replace("1.0", "1.000001")  # by 1e-6, where answers are 1e-6 in size
    near_one_half = 0.5 + _rows(scale=5e-7)

    faults = check_parity(_part(Affine(), REAL), _graph(off), [near_one_half]).faults
    excused = check_parity(replace(_part(Affine(), REAL), scales={"y": (1.0, 1.0)}), _graph(off), [near_one_half])
    narrow = check_parity(replace(_part(Affine(), REAL), scales={"y": (1.0, 1e-3)}), _graph(off), [near_one_half])

    assert len(faults) == 3
    assert excused.faults == ()
    assert len(narrow.faults) == 3


def test_a_batch_axis_in_the_output_shape_is_found() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - 0.01 * len(x)

    by_rows = "s = Shape(x) i = Constant <value_int = 0> () n = Gather(s, i) f = Cast <to = 1> (n)"
    graph = _graph(f"{by_rows} c = Constant <value_float = 0.0100001> () o = Mul(f, c) y = Sub(x, o)")
    fixed = _graph("o = Constant <value_float = 5.12> () y = Sub(x, o)")

    assert check_parity(_part(Mean(), REAL), graph, [_rows()]).faults == ()
    assert [fault.split(" exceeds")[0] for fault in check_parity(_part(Mean(), REAL), fixed, [_rows()]).faults] == [
        "part.y at 1 rows",
        "part.y at 7 rows",
    ]


def test_integers_may_differ_in_a_thousandth_of_places() -> None:
    rows = np.sort(_rows().ravel()).reshape(512, 2)
    one_apart, many_apart = (float(rows.ravel()[np.searchsorted(rows.ravel(), 0) + n]) for n in (0, 20))

    one = check_parity(_part(Coded(), CODE), _graph(POSITIVE.format(f"{one_apart:.9f}"), "int32[rows, 2] y"), [rows])
    many = check_parity(_part(Coded(), CODE), _graph(POSITIVE.format(f"{many_apart:.9f}"), "int32[rows, 2] y"), [rows])

    assert one.faults == ()
    assert one.differences["512"]["y"] == {"differ": pytest.approx(1 / 1024)}
    assert many.faults == ("part.y at 512 rows has differing integers: expected 0.1 % at most, got 2.05 %",)


class Looked(nn.Module):
    """Numbers to their signs, as codes, and to a score that depends on the codes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x > 0).int()
        return z, x.sum(1) + 5.0 * z.sum(1)


def _looked(border: float, *, weight: float = 5.0) -> bytes:
    return _graph(
        f"nil = Constant <value_float = {border:.9f}> () p = Greater(x, nil) z = Cast <to = 6> (p) "
        f"f = Cast <to = 1> (p) w = Constant <value_float = {weight}> () g = Mul(f, w) h = Add(x, g) "
        "a = Constant <value_ints = [1]> () score = ReduceSum <keepdims = 0> (h, a)",
        "int32[rows, 2] z, float[rows] score",
    )


def test_what_follows_from_a_code_is_not_compared_on_the_few_rows_where_the_code_differs() -> None:
    ports = (Port("z", "int32", (2,)), Port("score", "float32", ()))
    rows = np.random.default_rng(0).permutation(np.sort(_rows().ravel())).reshape(512, 2).astype(np.float32)
    in_order = np.sort(rows.ravel())
    first = int(np.searchsorted(in_order, 0, side="right"))
    one_apart, many_apart = (float(in_order[first + n : first + n + 2].mean()) for n in (0, 20))

    exact, off = (check_parity(_part(Looked(), *ports), _looked(0.0, weight=w), [rows]) for w in (5.0, 5.1))
    one, many = (check_parity(_part(Looked(), *ports), _looked(border), [rows]) for border in (one_apart, many_apart))
    one_off = check_parity(_part(Looked(), *ports), _looked(one_apart, weight=5.1), [rows])

    assert exact.faults == ()
    assert one.faults == ()
    assert one.differences["512"]["z"] == {"differ": pytest.approx(1 / 1024, rel=0.01)}
    assert one.differences["512"]["score"]["abs"] < 1e-5
    assert many.faults[-1].startswith("part.z at 512 rows has differing codes: expected 0.1 % at most, got 2.0")
    assert off.faults[-1].startswith("part.score at 512 rows exceeds the tolerance")
    assert one_off.faults[-1].startswith("part.score at 512 rows exceeds the tolerance")


def test_codes_after_one_that_differs_are_not_compared() -> None:
    class Drawn(nn.Module):
        """Two codes, the second drawn given the first."""

        def forward(self, x: Tensor) -> Tensor:
            first = x[:, :1] > 0
            return torch.cat([first, first ^ (x[:, 1:] > 0)], 1).int()

    body = (
        "k = Constant <value_ints = [0]> () l = Constant <value_ints = [1]> () nil = Constant <value_float = 0.0> () "
        "border = Constant <value_float = {:.9f}> () a = Gather <axis = 1> (x, k) b = Gather <axis = 1> (x, l) "
        "p = Greater(a, border) q = Greater(b, nil) r = Xor(p, q) s = Concat <axis = 1> (p, r) z = Cast <to = 6> (s)"
    )
    part, rows = _part(Drawn(), Port("z", "int32", (2,))), _rows()
    above = np.sort(rows[rows[:, 0] > 0, 0])

    one, some = (check_parity(part, _graph(body.format(b), "int32[rows, 2] z"), [rows]) for b in (above[0], above[9]))

    assert one.faults == ()
    assert one.differences["512"]["z"] == {"differ": pytest.approx(1 / 1023)}
    assert some.faults[-1] == "part.z at 512 rows has differing codes: expected 0.1 % at most, got 0.986 %"


def test_integers_may_be_off_by_the_absolute_tolerance() -> None:
    graph = _graph(
        "c = Cast <to = 6> (x) o = Constant <value_int = 1> () i = Cast <to = 6> (o) y = Add(c, i)", "int32[rows, 2] y"
    )

    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.int()

    assert check_parity(_part(Whole(), CODE, atol=1.0), graph, [_rows(100)]).faults == ()
    assert check_parity(_part(Whole(), CODE), graph, [_rows(100)]).faults != ()


def test_ranks_whose_values_tie_may_change_places_and_others_may_not() -> None:
    ports = (Port("reason", "int32", (2,)), Port("reason_z", "float32", (2,)))
    outputs = "int32[rows, 2] reason, float[rows, 2] reason_z"
    swapped = _graph(
        "k = Constant <value_ints = [2]> () reason_z, i = TopK(x, k) a = Constant <value_ints = [1, 0]> () "
        "j = Gather <axis = 1> (i, a) reason = Cast <to = 6> (j)",
        outputs,
    )
    tied = np.repeat(_rows()[:, :1], 2, axis=1)

    assert check_parity(_part(Ranked(), *ports), swapped, [tied]).faults == ()
    assert check_parity(_part(Ranked(), *ports), swapped, [_rows(offset=5)]).faults != ()


def test_missing_values_in_the_same_places_are_equal_and_in_others_a_fault() -> None:
    rows = _rows()
    rows[::3, 0] = np.nan
    everywhere = _graph("d = Sub(x, x) z = Div(d, d) y = Add(x, z)")

    assert check_parity(_part(Affine(), REAL), _graph(EXACT), [rows]).faults == ()
    faults = check_parity(_part(Affine(), REAL), everywhere, [rows]).faults
    assert faults[0] == "part.y at 1 rows has differing missing values: expected 0.1 % at most, got 50 %"


def test_outputs_of_another_type_or_shape_are_a_fault() -> None:
    other_type = _graph("d = Cast <to = 11> (x) y = Identity(d)", "double[rows, 2] y")
    other_shape = _graph("a = Constant <value_ints = [1]> () y = ReduceSum <keepdims = 0> (x, a)", "float[rows] y")

    assert (
        "expected float32(7, 2) as in torch, got float64(7, 2)"
        in check_parity(_part(Affine(), REAL), other_type, [_rows()]).faults[1]
    )
    assert (
        "expected float32(7, 2) as in torch, got float32(7,)"
        in check_parity(_part(Affine(), REAL), other_shape, [_rows()]).faults[1]
    )


def test_the_text_graphs_of_these_tests_are_valid_onnx() -> None:
    onnx.checker.check_model(onnx.load_from_string(_graph(EXACT)), full_check=True)


def test_of_rows_whose_columns_follow_from_each_other_one_may_differ_whatever_follows() -> None:
    part = replace(_part(Coded(), CODE), chained=("y",))
    rows = _rows()
    near = np.sort(np.abs(rows).min(axis=1))

    def graph(value: float) -> bytes:
        return _graph(POSITIVE.format(f"{value:.9f}"), "int32[rows, 2] y")

    one = check_parity(part, graph((near[0] + near[1]) / 2), [np.abs(rows)])
    many = check_parity(part, graph((near[9] + near[10]) / 2), [np.abs(rows)])

    assert one.faults == ()
    assert one.differences["512"]["y"]["differ"] == pytest.approx(1 / 512)
    assert "part.y at 512 rows has differing rows: expected 0.1 % at most, got 1.95 %" in many.faults

    of_texts = replace(part, draws=20)  # rounding may decide each of 10,240 draws

    assert check_parity(of_texts, graph((near[9] + near[10]) / 2), [np.abs(rows)]).faults == ()
    assert check_parity(of_texts, graph((near[11] + near[12]) / 2), [np.abs(rows)]).faults != ()


def test_parts_of_texts_may_differ_by_the_draws_of_their_tokens() -> None:
    model = families.build(TEXT, Section.model_validate({"family": "vae"}), 0)

    parts = standard_parts(model)

    assert [(part.chained, part.draws) for part in parts] == [
        ((), 1),
        (("cat",), 6),
        (("cat",), 6),
        (("cat",), 6),
    ]
