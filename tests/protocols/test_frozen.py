"""Frozen: a struct that everybody takes for a frozen dataclass."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from podium.protocols.frozen import frozen, plain, slotted


@frozen
class Point:
    """A place."""

    x: int
    y: int = 2
    tags: tuple[str, ...] = ()
    notes: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def sum(self) -> int:
        return self.x + self.y

    def __add__(self, other: Point) -> Point:
        return Point(self.x + other.x, self.y + other.y)

    @staticmethod
    def origin() -> Point:
        return Point(0, 0)


@frozen
class Line:
    start: Point
    end: Point | None = None


def test_it_looks_like_a_dataclass() -> None:
    point = Point(1, tags=("a",))
    assert is_dataclass(point)
    assert [each.name for each in fields(Point)] == ["x", "y", "tags", "notes"]
    assert repr(point) == "Point(x=1, y=2, tags=('a',), notes={})"
    assert replace(point, y=5) == Point(1, 5, ("a",))
    assert (point.sum, point + point, Point.origin().x) == (3, Point(2, 4), 0)
    assert (Point.__doc__, Point.__module__, Point.__qualname__) == ("A place.", __name__, "Point")
    assert Point(1).notes is not Point(1).notes
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
        case _:
            pytest.fail("it did not match")


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        Point(1).z = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        del Point(1).x  # pyright: ignore[reportAttributeAccessIssue]


def test_equality_and_hash_are_those_of_the_values() -> None:
    assert Line(Point(1)) == Line(Point(1)) != Line(Point(2))
    plain = frozen(type("Plain", (), {"__annotations__": {"a": "int"}}))
    assert hash(plain(1)) == hash(plain(1))
    assert plain(1) != Point(1)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        Point()  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        Point(1, 2, (), {}, 5)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        Point(1, z=3)  # pyright: ignore[reportCallIssue]


def test_copies_and_pickles_are_equal() -> None:
    line = Line(Point(1, 2, ("a",), {"n": 1}), Point(3))
    assert copy.copy(line) == copy.deepcopy(line) == pickle.loads(pickle.dumps(line)) == line


def test_pydantic_takes_it_as_it_takes_a_dataclass() -> None:
    adapter = TypeAdapter(Line)
    line = Line(Point(1, 2, ("a",)), Point(3))
    made = adapter.validate_json(adapter.dump_json(line))
    assert made == line
    assert isinstance(made.end, Point)
    assert adapter.dump_json(Line(Point(1)), exclude_defaults=True) == b'{"start":{"x":1}}'
    with pytest.raises(ValidationError, match=r"start\.x"):
        adapter.validate_python({"start": {"x": "one"}})


@plain
class Path:
    points: tuple[Point, ...]


def test_what_is_plain_is_not_looked_at_by_the_collector() -> None:
    points = tuple(Point(each, tags=(str(each),)) for each in range(3))
    path = Path(points)
    assert [gc.is_tracked(each) for each in (points, Line(points[0]), path)] == [True, True, False]
    assert path == replace(Path(()), points=points)
    with pytest.raises(AttributeError):
        path.points = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_plain_frees_what_it_held() -> None:
    point = Point(1)
    before = sys.getrefcount(point)
    path = Path((point,))
    assert sys.getrefcount(point) == before + 1
    del path
    assert sys.getrefcount(point) == before


def test_what_is_kept_in_a_circle_is_collected() -> None:
    """The one circle that a value can be part of goes through something that can be changed."""
    freed: list[int] = []

    class Watch:
        def __del__(self) -> None:
            freed.append(1)

    holder: list[Any] = [Watch()]
    holder.append(frozen(type("Held", (), {"__annotations__": {"by": "list"}}))(holder))
    del holder
    gc.collect()
    assert freed == [1]


@pytest.mark.parametrize("body", ["post_init", "kw_only", "init", "bases"])
def test_what_a_struct_cannot_be_is_refused(body: str) -> None:
    annotations = {"a": "int"}
    cases: dict[str, Any] = {
        "post_init": lambda: type("X", (), {"__annotations__": annotations, "__post_init__": print}),
        "kw_only": lambda: type("X", (), {"__annotations__": annotations, "a": field(kw_only=True)}),
        "init": lambda: type("X", (), {"__annotations__": annotations, "a": field(init=False, default=1)}),
        "bases": lambda: type("X", (Exception,), {"__annotations__": annotations}),
    }
    with pytest.raises(TypeError, match="X: use an ordinary dataclass"):
        frozen(cases[body]())


def test_it_is_the_base_of_nothing() -> None:
    with pytest.raises(TypeError, match="Point cannot be the base"):
        type("Further", (Point,), {})


def test_what_is_slotted_may_change() -> None:
    @slotted
    class Count:
        number: int
        said: tuple[str, ...] = ()

        def up(self) -> None:
            self.number += 1

    count = Count(1)
    count.up()
    count.said = ("two",)
    assert count == Count(2, ("two",))
    assert replace(count, number=5) == Count(5, ("two",))
    with pytest.raises(AttributeError):
        count.other = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_dataclass_may_hold_it() -> None:
    @dataclass(slots=True)
    class Box:
        point: Point

    assert replace(Box(Point(1)), point=Point(2)).point == Point(2)
