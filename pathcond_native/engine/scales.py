"""The scale ids of a program's values, and the facts that its steps add by their rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from .facts import Facts, Ids, Use
from .program import Program, Step, Value
from .rule import NoRule, Rule
from .shapes import lead

__all__ = ["Scales", "Unsupported"]

Array = TypeVar("Array")
"""What a front end's rules keep ids in."""


@dataclass(frozen=True)
class Unsupported:
    """An operator that ends paths, and why."""

    operator: str
    where: str
    reason: str


class Scales(ABC, Generic[Array]):
    """The ids of one program's values, and the facts that its steps add.

    Rules see ids as arrays of their front end, facts are kept in NumPy.
    """

    rules: ClassVar[Mapping[str, Rule[Any, Any]]]
    """The front end's table."""
    product: ClassVar[str]
    """The operator that multiplies entry by entry."""
    quotient: ClassVar[tuple[str, str]]
    """The operator that divides, and the name of its dividend."""

    @abstractmethod
    def given(self, ids: Ids) -> Array:
        """Ids as rules see them."""

    @abstractmethod
    def read(self, ids: Array) -> Ids:
        """Ids that a rule states something about."""

    @abstractmethod
    def is_real(self, value: Value) -> bool:
        """Whether a value is of a floating-point dtype."""

    def __init__(self, facts: Facts, program: Program) -> None:
        self.facts = facts
        self.program = program
        self.ids: dict[int, Array] = {}
        self.ended: set[int] = set()
        self.carried: set[int] = set()
        self.unsupported: list[Unsupported] = []
        self._views: dict[int, tuple[int, Ids | None]] = {
            index: (parameter, None) for index, parameter in program.parameter_of.items()
        }
        self._learnt = set(program.parameter_of)
        self._registered: set[int] = set()

    def __getitem__(self, value: Value) -> Array:
        """Scale ids of a value: int64, of the value's rank, constant axes stored with size 1."""
        if value.index in self.ids:
            return self.ids[value.index]
        if value.index in self._views:
            parameter, positions = self._views[value.index]
            self._registered.add(value.index)
            ids = self.facts.source(parameter, self._positions(parameter, positions))
            return self.given(ids)
        return self.fixed(value)

    def is_static(self, value: Value) -> bool:
        """Whether the value depends on no input of the model."""
        return value.index in self.program.static

    def is_constant(self, value: Value) -> bool:
        """Whether the value depends neither on an input of the model nor on a parameter."""
        return self.is_static(value) and value.index not in self._learnt

    def is_zero(self, x: object) -> bool:
        """Whether a number or a constant tensor is known to be 0."""
        if not isinstance(x, Value):
            return isinstance(x, (int, float)) and x == 0
        real = self.program.constant(x) if self.is_constant(x) else None
        return real is not None and not bool(real.any())

    def is_one(self, value: Value) -> bool:
        """Whether the scale is 1 throughout without any further fact."""
        return value.index not in self._views and not self.read(self[value]).any()

    def fixed(self, value: Value) -> Array:
        """Ids of a tensor whose scale is 1 throughout."""
        return self.given(np.zeros((1,) * len(value.shape), dtype=np.int64))

    def fresh(self, step: Step, weight: Value | None, n: int) -> Array:
        """Ids of the n output channels of the layer that owns `weight`."""
        view = self._views.get(weight.index) if weight is not None else None
        if view is None:
            return self.given(self.facts.fresh(step.module, n))
        layer = self.facts.parameters[view[0]].layer
        return self.given(self.facts.fresh(layer, n, parameter=view[0]))

    def free(self, step: Step, n: int) -> Array:
        """Ids of n entries that are no channels of a layer and may have any scale."""
        return self.given(self.facts.fresh(step.module, n, channels=False))

    def equal(self, a: Array, b: Array, reason: str) -> Array:
        """State that a and b agree after broadcasting; the ids of the result.

        `reason` is told to the user where one of them is pinned outright.
        """
        return self.given(self.facts.relate([(1, self.read(a)), (-1, self.read(b))], reason)[0])

    def uniform(self, ids: Array, axes: Iterable[int]) -> Array:
        """State that ids agree along the axes; the ids with those axes compressed."""
        return self.given(self.facts.uniform(self.read(ids), axes))

    def pin(self, ids: Array, reason: str) -> None:
        """State that the scale is 1."""
        self.facts.pin(self.read(ids), reason)

    def pin_value(self, value: Value, reason: str) -> None:
        """State that the scale of a value is 1; a parameter keeps its values."""
        if value.index not in self._views:
            self.pin(self[value], reason)

    def times(self, step: Step, a: Array, b: Array) -> Array:
        """Ids of a product: every entry has the scales of both factors."""
        first, second = self.read(a), self.read(b)
        rank = max(first.ndim, second.ndim)
        first, second = lead(first, rank), lead(second, rank)
        if not first.any():
            return self.given(second)
        if not second.any():
            return self.given(first)
        return self._derived(step, [(1, first), (1, second)])

    def power(self, step: Step, a: Array, exponent: int) -> Array:
        """Ids of a power."""
        ids = self.read(a)
        return self._derived(step, [(exponent, ids)]) if ids.any() else a

    def _derived(self, step: Step, terms: list[tuple[int, Ids]]) -> Array:
        reason = f"{step.place}: the product is pinned"
        return self.given(self.facts.derived(step.module, terms, reason))

    def weight(self, step: Step, weight: Value, emitted: Array, consumed: Array) -> None:
        """State that `weight` maps channels of scale `consumed` to channels of scale `emitted`."""
        sides = self.read(emitted), self.read(consumed)
        if weight.index in self._views:
            parameter, positions = self._views[weight.index]
            self.facts.uses[parameter].append(Use(*sides, positions))
            self._registered.add(weight.index)
        elif not self.is_zero(weight):  # zeros map any scale to any other
            reason = f"the weight of {step.place} is not a parameter"
            terms = [(1, sides[0]), (-1, sides[1]), (-1, self.read(self[weight]))]
            self.facts.relate(terms, reason)

    def bias(self, step: Step, bias: Value | None, emitted: Array) -> None:
        """State that `bias`, if there is one, is added to channels of scale `emitted`."""
        if bias is not None:
            self.weight(step, bias, emitted, self.given(np.zeros_like(self.read(emitted))))

    def walk(self) -> None:
        """Apply the rule of every step."""
        for number, step in enumerate(self.program.steps):
            self._registered.clear()
            if not all(v.index in self.program.static for v in step.outputs):
                self._walk(number, step)
            elif any(v.index in self._learnt for v in step.inputs()):
                self._learnt.update(v.index for v in step.outputs)
                if self._moved(step) or self._apply(step) is None:
                    self.carried.add(number)
                else:
                    self._end(step, f"feeds {step.place}")
            self._keep(step)
        for value in self.program.outputs:
            self._pin(value, "model output")
        for value in self.program.states:
            self._pin(value, "is stored in the model's state")

    def _walk(self, number: int, step: Step) -> None:
        problem = self._apply(step)
        if problem is None:
            return
        self.ended.add(number)
        self._end(step, f"feeds {step.place}: {problem}")
        if any(self.is_real(v) and not self.is_constant(v) for v in step.inputs()):
            self.unsupported.append(Unsupported(step.name, step.module, problem))

    def _apply(self, step: Step) -> str | None:
        """Set the ids of the outputs by rule; what stands against it, if anything."""
        if step.name not in self.rules:
            return "it has no scaling rule"
        if any(0 in v.shape for v in (*step.inputs(), step.outputs[0])):
            return "it handles an empty tensor"
        try:
            ids = self.rules[step.name].scale(self, step)
        except NoRule as no_rule:
            return str(no_rule)
        except KeyError as missing:
            return f"its rule is for another form of it, with an argument {missing}"
        for value, x in zip(
            step.outputs, ids if isinstance(ids, (list, tuple)) else [ids], strict=False
        ):
            self.ids[value.index] = x
        return None

    def _moved(self, step: Step) -> bool:
        """Whether the step only moves entries of a parameter, or multiplies them by a constant."""
        rule = self.rules.get(step.name)
        learnt = [v for v in step.inputs() if v.index in self._learnt]
        if rule is None or len(learnt) != 1 or learnt[0].index not in self._views:
            return False
        if any(0 in v.shape for v in (*step.inputs(), *step.outputs)):
            return False
        parameter, positions = self._views[learnt[0].index]
        if rule.move is not None and step[rule.moved] is learnt[0]:
            try:
                moved = rule.move(step, self.given(self._positions(parameter, positions)))
            except NoRule:
                return False
            several: Any = moved if isinstance(moved, (list, tuple)) else [moved]
            results = [self.read(x) for x in several]
        elif step.outputs[0].shape == learnt[0].shape and self._multiplied(step, learnt[0]):
            results = [self._positions(parameter, positions)]
        else:
            return False
        self._registered.add(learnt[0].index)
        for value, result in zip(step.outputs, results, strict=True):
            self._views[value.index] = parameter, _expanded(result, value.shape)
        return True

    def _multiplied(self, step: Step, x: Value) -> bool:
        """Whether the step multiplies x, or divides it, entry by entry."""
        name, dividend = self.quotient
        return step.name == self.product or (step.name == name and step[dividend] is x)

    def _positions(self, parameter: int, positions: Ids | None) -> Ids:
        info = self.facts.parameters[parameter]
        return np.arange(info.size).reshape(info.shape) if positions is None else positions

    def _end(self, step: Step, reason: str) -> None:
        self._registered.clear()
        for value in step.inputs():
            self.pin_value(value, reason)

    def _keep(self, step: Step) -> None:
        """A parameter that the rule did not speak of enters the step as it is."""
        for value in step.inputs():
            if value.index in self._views and value.index not in self._registered:
                self._freeze(value)

    def _freeze(self, value: Value) -> None:
        parameter, positions = self._views[value.index]
        one = self.read(self.fixed(value))
        self.facts.uses[parameter].append(Use(one, one, positions))

    def _pin(self, value: Value, reason: str) -> None:
        if value.index in self._views:
            self._freeze(value)
        else:
            self.pin(self[value], reason)


def _expanded(positions: Ids, shape: tuple[int, ...]) -> Ids:
    """Positions in full: of that shape, and writable as front ends may want it."""
    return positions if positions.shape == shape else np.broadcast_to(positions, shape).copy()
