"""A component is built from words, and every wrong word is answered by one sentence that says what would be right."""

from dataclasses import dataclass, field

import pytest

from benchmark.api import bounded, choice
from benchmark.components import build, make
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.specs import Ref


@dataclass(frozen=True, kw_only=True)
class Example:
    """One parameter of every sort."""

    rate: float = bounded(0.1, 0.0, 1.0)
    steps: int = bounded(3, 1, 10)
    weight: float = bounded(1, 0, 5)
    clip: float | None = bounded(None, 0.0, 9.0)
    kind: str = choice("soft", "hard")
    careful: bool = False
    scale: float = 2.0
    side: int | None = None
    label: str = "x"
    shape: tuple[int, ...] = (1, 2)
    extra: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.label == "reserved":
            raise ValueError("label = 'reserved' is taken; any other is right.")


def refused(**params: object) -> str:
    with pytest.raises(BenchmarkError) as raised:
        build(Example, params, "suite 'x'")
    sentence = str(raised.value)
    assert sentence.startswith("suite 'x': ") and "\n" not in sentence
    return sentence.removeprefix("suite 'x': ")


def test_without_words_a_component_has_its_defaults():
    assert build(Example, {}, "suite 'x'") == Example()


@pytest.mark.parametrize(
    "params",
    [
        {"rate": 0},
        {"rate": 1.0},
        {"steps": 10},
        {"weight": 0.5},
        {"clip": None},
        {"clip": 2},
        {"kind": "hard"},
        {"careful": True},
        {"scale": 3},
        {"side": None},
        {"side": 8},
        {"shape": [3, 4]},
    ],
)
def test_right_words_are_taken_as_they_are(params):
    made = build(Example, params, "suite 'x'")
    assert {name: getattr(made, name) for name in params} == params


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"rat": 0.1}, "unknown parameter 'rat'. Did you mean 'rate'? Known: careful, clip, extra, kind, "),
        ({"rate": "high"}, "rate = 'high' is not a number."),
        ({"rate": True}, "rate = True is not a number."),
        ({"rate": None}, "rate = None is not a number."),
        ({"rate": 1.5}, "rate = 1.5 is outside 0.0 … 1.0."),
        ({"rate": float("nan")}, "rate = nan is outside 0.0 … 1.0."),
        ({"steps": 2.5}, "steps = 2.5 is not a whole number."),
        ({"steps": 0}, "steps = 0 is outside 1 … 10."),
        ({"steps": True}, "steps = True is not a whole number."),
        ({"clip": "x"}, "clip = 'x' is not a number."),
        ({"clip": 10}, "clip = 10 is outside 0.0 … 9.0."),
        ({"kind": "medium"}, "kind = 'medium' is not one of soft, hard."),
        ({"kind": 1}, "kind = 1 is not one of soft, hard."),
        ({"careful": "no"}, "careful = 'no' is neither true nor false."),
        ({"careful": 1}, "careful = 1 is neither true nor false."),
        ({"scale": "2"}, "scale = '2' is not a number."),
        ({"label": 3}, "label = 3 is no text."),
        ({"label": "reserved"}, "label = 'reserved' is taken; any other is right."),
    ],
)
def test_wrong_words_are_refused_with_the_parameter_and_what_is_right(params, sentence):
    assert refused(**params).startswith(sentence)


def test_datasets_and_scenarios_take_their_first_field_after_a_colon():
    assert make("scenario", Ref(name="random:0.1"), "here").fraction == 0.1
    assert make("scenario", Ref(name="class:3,5"), "here").classes == (3, 5)
    assert make("dataset", Ref(name="parquet:/a/b:c.parquet", params={"size": 8}), "here").path == "/a/b:c.parquet"


@pytest.mark.parametrize(
    ("kind", "ref", "sentence"),
    [
        ("dataset", Ref(name="digit"), "here: unknown dataset 'digit'. Did you mean 'digits'?"),
        ("dataset", Ref(name="digits:3"), "here, dataset 'digits:3': 'digits' takes no argument; write 'digits'"),
        ("dataset", Ref(name="folder", params={"path": 3}), "here, dataset 'folder': path = 3 is no text."),
        ("scenario", Ref(name="random", params={"fractoin": 1}), "here, scenario 'random': unknown parameter 'fracto"),
        ("scenario", Ref(name="random"), "here, scenario 'random': say either `fraction` or `count`, and not both."),
        ("scenario", Ref(name="random:much"), "here, scenario 'random:much': fraction = 'much' is not a number"),
        ("scenario", Ref(name="class"), "here, scenario 'class': classes is missing; it has no default."),
    ],
)  # fmt: skip
def test_wrong_datasets_and_scenarios_are_refused_with_the_place(kind, ref, sentence):
    with pytest.raises(BenchmarkError) as raised:
        make(kind, ref, "here")
    assert str(raised.value).startswith(sentence)


def test_annotations_that_are_text_count_as_the_types_that_they_name():
    target = type("Late", (), {"__annotations__": {"rate": "float | None"}, "rate": bounded(None, 0.0, 1.0)})
    late = dataclass(frozen=True, kw_only=True)(target)
    assert build(late, {"rate": 0.5}, "here").rate == 0.5
    with pytest.raises(BenchmarkError, match="rate = 'x' is not a number"):
        build(late, {"rate": "x"}, "here")
    with pytest.raises(UnknownName):
        build(late, {"rates": 1.0}, "here")
