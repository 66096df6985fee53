"""Page state and the query string: what matters is in the address, so a link shows the same thing elsewhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic import Field, ValidationError, field_validator

from analyses.tasks.base import MOST
from hooks.interventions import KINDS, Intervention
from hooks.prompts import ImagePrompt, PromptSet, Special
from hooks.spec import Spec
from workbench import edit_text
from workbench.images import NAME

STACKS = ("", "encoder", "cross", "vision")
"""What the pages about attention show: the main stack, another one, or the attention between two."""
IOI = "When Mary and John went to the store, John gave a drink to"
IOI_CORRUPT = "When Mary and John went to the store, Mary gave a drink to"


class State(Spec):
    """Everything a page needs to show the same thing again. Fields with their default are left out of the address."""

    model: str = "smollm2-135m"
    prompt: str = IOI
    answer: str = " Mary"
    foil: str = " John"
    special: Special = "model"
    plain: bool = False
    # models that are no decoders: what an encoder-decoder has written, the name of a kept image, a text to compare with
    target: str = ""
    image: str = ""
    other: str = ""
    # many prompts instead of one: a task with its size and corruption (and `seed`), or the hash of a kept table with
    # its columns as JSON ("" where their names say what they are)
    task: str = ""
    n: int = Field(default=16, ge=1, le=MOST)
    variant: str = ""
    data: str = ""
    columns: str = ""
    # attention
    stack: str = ""
    layer: int | None = Field(default=None, ge=0)
    head: int | None = Field(default=None, ge=0)
    score: str = "induction"
    sort: str = "layer"
    least: float = 0.0
    hide_first: bool = False
    flip: bool = False
    tab: str = "pattern"
    average: str = "none"
    token: int | None = Field(default=None, ge=0)
    column: bool = False
    # prompt
    position: int | None = Field(default=None, ge=0)
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    top_k: int = Field(default=10, ge=1, le=1000)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    # the prompt's continuation: how many tokens, greedy or drawn, which one is open
    steps: int = Field(default=0, ge=0, le=200)
    sampled: bool = False
    seed: int = Field(default=0, ge=0)
    chosen: int | None = Field(default=None, ge=0)
    # tokenizer: what is looked up, as text:… or ids:…
    lookup: str = ""
    # ablation: edits as in edit_text
    edits: str = ""
    kind: str = "zero"
    over: str = "head"
    site: str = "z"
    metric: str = "logit_diff"
    where: int | None = Field(default=None, ge=0)
    within: int | None = Field(default=None, ge=0)
    hide_inside: bool = False
    # patching: the other prompt of the pair, the method, the site and the axes of its map ("": the usual ones), then
    # what only some methods ask; positions are joined by ',', parts by ';'
    corrupt: str = IOI_CORRUPT
    method: str = "activation_patching"
    direction: str = "denoising"
    at: str = ""
    axes: str = ""
    star: bool = False
    noised: str = ""
    draws: int = Field(default=10, ge=1, le=1000)
    window: int | None = Field(default=None, ge=1)
    queries: str = "last"
    keys: str = ""
    senders: str = "heads"
    receivers: str = "logits"
    freeze: bool = False
    by: str = "head"
    repair: bool = False
    shown: str = ""
    # circuits: how one is searched, what is cut carries; the hash of a given one; its edits as a draft; what is open (a
    # node or edge, a cell of its attention); the result that was evaluated, and what it is compared with
    finder: str = "eap_ig"
    level: str = "edge"
    points: int = Field(default=5, ge=1, le=1000)
    outside: str = "counterfactual"
    given: str = ""
    draft: str = ""
    pick: str = ""
    cell: str = ""
    judged: str = ""
    against: str = ""
    # neurons: what ranks them ("peak", "at" `position`, "direct"), the open one ("": the strongest)
    rank_by: str = "peak"
    neuron: str = ""
    # lens: the stream, what colours the cells ("": the usual), which of several prompts (None: their mean),
    # the entry that is open (at `position`), whether the edited run is shown as its difference from the clean one
    lens_at: str = "resid_pre"
    lens_by: str = ""
    lens_prompt: int | None = Field(default=None, ge=0)
    lens_layer: int | None = Field(default=None, ge=0)
    lens_change: bool = False
    # evaluation: the hash of a kept test set; whether all correct answers of TruthfulQA count
    items: str = ""
    every: bool = False
    # what a long text is read in: tokens at once, and how far apart these windows begin (None: the usual ones)
    text_window: int | None = Field(default=None, ge=2)
    stride: int | None = Field(default=None, ge=1)
    # results
    open: str = ""
    beside: str = ""
    find: str = ""
    saved: bool = False

    @field_validator("kind")
    @classmethod
    def _kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is not a kind of edit")
        return kind

    @field_validator("image")
    @classmethod
    def _image(cls, image: str) -> str:
        if image and not NAME.fullmatch(image):
            raise ValueError(f"'{image}' is not the name of an image")
        return image

    @field_validator("stack")
    @classmethod
    def _stack(cls, stack: str) -> str:
        if stack not in STACKS:
            raise ValueError(f"'{stack}' is not a stack")
        return stack

    @property
    def mean_over(self) -> edit_text.MeanOver:
        """What the short form of a mean is over: one prompt's mean over prompts would be the prompt itself."""
        return "prompts" if self.task or self.data else "positions"

    def tray(self, *, alone: bool = False) -> edit_text.Edits:
        """The edits in the tray, in the order in which they were added, and the vectors that they name.

        alone: for pages that run the one prompt of the address, whatever else is chosen. Raises SpecError, SiteMissing
        for an unreadable one.
        """
        return edit_text.read(self.edits, "positions" if alone else self.mean_over)

    def interventions(self) -> tuple[Intervention, ...]:
        """The edits in the tray. Raises as `tray`."""
        return self.tray().edits

    def inputs(self) -> PromptSet:
        """The prompt set named `clean` that this state describes."""
        answers: dict[str, Any] = {"answers": (self.answer,)} if self.answer else {}
        if self.foil and self.answer:
            answers["foils"] = (self.foil,)
        prompt = ImagePrompt(image=self.image, text=self.prompt or None) if self.image else self.prompt
        targets = (self.target,) if self.target else ()
        return PromptSet(prompts=(prompt,), targets=targets, special=self.special, plain_text=self.plain, **answers)


def read(search: str | None) -> State:
    """The state in a query string. Unknown or malformed fields take their defaults: a stale link still opens."""
    given = dict(parse_qsl((search or "").lstrip("?"), keep_blank_values=True))
    given = {key: value for key, value in given.items() if key in State.model_fields}
    try:
        return State.model_validate(given)
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        return State.model_validate({key: value for key, value in given.items() if key not in wrong})


def write(state: State) -> str:
    """The query string of a state, with a leading '?'; the default state gives an empty one."""
    fields = {}
    for name, field in State.model_fields.items():
        value = getattr(state, name)
        if value != field.default:
            fields[name] = "" if value is None else (str(int(value)) if isinstance(value, bool) else str(value))
    return f"?{urlencode(fields)}" if fields else ""


def change(search: str | None, **fields: Any) -> str:
    """The query string with some fields changed."""
    return write(State.model_validate({**read(search).model_dump(), **fields}))
