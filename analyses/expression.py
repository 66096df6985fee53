"""A metric of the user's own: an expression over logits of named tokens, parsed here and never run as code.

    logit(' Mary') - max(logit(' John'), logit(' he'))        prob(answer) / (prob(answer) + prob(foil))

Quantities of one token at the answer position: `logit`, `logprob` (nats), `prob`, `rank`. A token is a text that the
model's tokenizer makes one token of, a token id, or `answer` or `foil`: the prompt's own. Over these: + − * /,
parentheses, numbers, `mean`, `max`, `min`, `sum` of several, `exp`, `log`, `abs` of one. All but `rank` have gradients.

The parser is a plain recursive descent over one line of text of bounded length and depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from analyses.grid import Unit
from hooks.errors import SpecError
from hooks.spec import Spec

LONGEST = 500
DEEPEST = 32
QUANTITIES: Mapping[str, Unit] = {"logit": "logit", "logprob": "nat", "prob": "prob", "rank": "rank"}
OWN = ("answer", "foil")
OF_SEVERAL: Mapping[str, Callable[[list[Tensor]], Tensor]] = {
    "mean": lambda values: torch.stack(values).mean(0),
    "max": lambda values: torch.stack(values).amax(0),
    "min": lambda values: torch.stack(values).amin(0),
    "sum": lambda values: torch.stack(values).sum(0),
}
OF_ONE: Mapping[str, Callable[[Tensor], Tensor]] = {"exp": torch.exp, "log": torch.log, "abs": torch.abs}
SIGNS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div,
}  # fmt: skip
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
HINT = "Write, for example, logit(' Mary') - logit(' John')."

_LEXEME = re.compile(
    r"""\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_]+)|(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<sign>[-+*/(),−]))""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


@dataclass(frozen=True)
class Number:
    """A number as written."""

    value: float


@dataclass(frozen=True)
class Quantity:
    """`name` of one token: its text, its id, or "answer" or "foil" with own=True."""

    name: str
    token: str | int
    own: bool = False


@dataclass(frozen=True)
class Call:
    """A function of what is below it."""

    name: str
    below: tuple[Node, ...]


@dataclass(frozen=True)
class Chain:
    """first, then each sign with what follows it: a − b + c. One node, so that a long sum is no deep tree."""

    first: Node
    steps: tuple[tuple[str, Node], ...]

    @property
    def below(self) -> tuple[Node, ...]:
        return (self.first, *(node for _, node in self.steps))


Node = Number | Quantity | Call | Chain


class Expression(Spec):
    """A metric in the user's words. unit: of its values; needed where quantities of several units are mixed."""

    expression: str = Field(min_length=1, max_length=LONGEST)
    unit: Unit | None = Field(default=None, exclude_if=lambda unit: unit is None)

    @field_validator("expression")
    @classmethod
    def _parses(cls, text: str) -> str:
        try:
            parse(text)
        except SpecError as error:
            raise ValueError(f"{error.message.removesuffix('.')} ({error.hint.removesuffix('.')})") from error
        return text

    @model_validator(mode="after")
    def _has_a_unit(self) -> Expression:
        if self.unit is None and unit_of(parse(self.expression)) is None:
            raise ValueError('say what the numbers are, such as "unit": "logit": that does not follow from expression')
        return self


def parse(text: str) -> Node:
    """The expression as a tree. Raises SpecError that says at which character it goes wrong."""
    if len(text) > LONGEST:
        raise SpecError(f"the expression has {len(text)} characters; {LONGEST} are allowed.", "Shorten it.")
    parser = _Parser(text)
    tree = parser.sums()
    if parser.kind:
        parser.fail("expected an operator or the end")
    if not any(quantities(tree)):
        raise SpecError(f"the expression '{text}' measures nothing.", f"Name at least one token. {HINT}")
    return tree


def quantities(node: Node) -> Iterator[Quantity]:
    """All quantities of a tree, from left to right."""
    if isinstance(node, Quantity):
        yield node
    elif not isinstance(node, Number):
        for below in node.below:
            yield from quantities(below)


def unit_of(node: Node) -> Unit | None:
    """The unit of the values, where it follows: sums, extremes and multiples of one sort of quantity have its unit."""
    unit = _unit(node)
    return None if unit == "number" else unit


def _unit(node: Node) -> Unit | Literal["number"] | None:
    if isinstance(node, Number):
        return "number"
    if isinstance(node, Quantity):
        return QUANTITIES[node.name]
    units = [_unit(below) for below in node.below]
    measured = [unit for unit in units if unit != "number"]
    if not measured:
        return "number"
    if isinstance(node, Call) and node.name in ("exp", "log"):
        return None
    if isinstance(node, Chain) and node.steps[0][0] in "*/":
        divided = any(sign == "/" for (sign, _), unit in zip(node.steps, units[1:], strict=True) if unit != "number")
        return measured[0] if len(measured) == 1 and not divided else None
    return measured[0] if len(set(measured)) == 1 else None


def evaluate(node: Node, read: Callable[[Quantity], Tensor]) -> Tensor:
    """The value of a tree, one per prompt, from the values of its quantities [batch]."""
    if isinstance(node, Quantity):
        return read(node)
    if isinstance(node, Number):
        return torch.tensor(node.value)
    if isinstance(node, Chain):
        value = evaluate(node.first, read)
        for sign, below in node.steps:
            value = SIGNS[sign](value, evaluate(below, read))
        return value
    values = [evaluate(below, read) for below in node.below]
    if node.name in OF_ONE:
        return OF_ONE[node.name](values[0])
    return OF_SEVERAL[node.name](list(torch.broadcast_tensors(*(value.to(_device(values)) for value in values))))


def _device(values: list[Tensor]) -> torch.device:
    """Where the quantities are; numbers alone are on the CPU."""
    return next((value.device for value in values if value.ndim), values[0].device)


class _Parser:
    """Reads lexemes from left to right, one ahead: `kind` and `lexeme` are what comes next, "" at the end."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.start, self.depth = text, 0, 0, 0
        self.kind = self.lexeme = ""
        self.advance()

    def advance(self) -> str:
        """Step over the next lexeme, and return it."""
        passed = self.lexeme
        found = _LEXEME.match(self.text, self.place)
        if found is None:
            rest = self.text[self.place :]
            self.start = len(self.text) - len(rest.lstrip())
            self.kind = self.lexeme = ""
            if rest.strip():
                self.lexeme = self.text[self.start]
                self.fail("a text without its closing quote" if self.lexeme in "'\"" else "not understood")
            return passed
        self.kind = found.lastgroup or ""
        self.lexeme, self.start, self.place = found[self.kind].replace("−", "-"), found.start(self.kind), found.end()
        if self.kind == "text":
            self.lexeme = found["text"]
        return passed

    def fail(self, why: str) -> NoReturn:
        here = f"'{self.lexeme}'" if self.lexeme else "the end"
        raise SpecError(f"the expression is wrong at character {self.start + 1}, {here}: {why}.", HINT)

    def sums(self) -> Node:
        return self._chain("+-", lambda: self._chain("*/", self.signed))

    def _chain(self, signs: str, below: Callable[[], Node]) -> Node:
        first, steps = below(), []
        while self.kind == "sign" and self.lexeme in signs:
            steps.append((self.advance(), below()))
        return Chain(first, tuple(steps)) if steps else first

    def signed(self) -> Node:
        """A value, perhaps behind a minus: −x is −1 · x."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nested deeper than {DEEPEST}")
        if self.kind == "sign" and self.lexeme == "-":
            self.advance()
            below = self.signed()
            node: Node = Number(-below.value) if isinstance(below, Number) else Chain(Number(-1.0), (("*", below),))
        else:
            node = self.value()
        self.depth -= 1
        return node

    def value(self) -> Node:
        if self.kind == "number":
            return Number(self.number())
        if self.kind == "name":
            return self.call()
        if self.kind == "sign" and self.lexeme == "(":
            self.advance()
            node = self.sums()
            self.close()
            return node
        return self.fail("expected a number, a function or an opening parenthesis")

    def number(self) -> float:
        value = float(self.lexeme)
        if value == float("inf"):
            self.fail("too large a number")
        self.advance()
        return value

    def call(self) -> Node:
        name = self.lexeme
        if name not in {*QUANTITIES, *OF_SEVERAL, *OF_ONE}:
            if name in OWN:
                self.fail(f"expected a quantity of it, such as logit({name})")
            self.fail(f"no such function; known: {', '.join((*QUANTITIES, *OF_SEVERAL, *OF_ONE))}")
        self.advance()
        if self.lexeme != "(" or self.kind != "sign":
            self.fail("expected an opening parenthesis")
        self.advance()
        node = self.token(name) if name in QUANTITIES else Call(name, self.arguments(name))
        self.close()
        return node

    def arguments(self, name: str) -> tuple[Node, ...]:
        found = [self.sums()]
        while self.kind == "sign" and self.lexeme == ",":
            if name in OF_ONE:
                self.fail(f"{name} takes one value")
            self.advance()
            found.append(self.sums())
        return tuple(found)

    def token(self, name: str) -> Quantity:
        if self.kind == "name" and self.lexeme in OWN:
            return Quantity(name, self.advance(), own=True)
        if self.kind == "number" and self.lexeme.isdigit():
            return Quantity(name, int(self.advance()))
        if self.kind == "text" and len(self.lexeme) > 2:
            written = self.advance()[1:-1]
            return Quantity(name, re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), written, flags=re.DOTALL))
        return self.fail("expected a token: a text in quotes, an id, answer or foil")

    def close(self) -> None:
        if self.kind != "sign" or self.lexeme != ")":
            self.fail("expected a closing parenthesis")
        self.advance()
