"""A model's files from the Hugging Face hub, or from its local copy; what went wrong in a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import model_info, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hooks.errors import ModelError

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
PICKLES = ["*.bin"]
# Second copies of the same weights, in other formats.
UNWANTED = ["consolidated*", "original/*", "onnx/*", "openvino/*", "coreml/*", "training_args.bin"]
UNAUTHORISED = (401, 403)


def snapshot(
    name: str,
    revision: str | None = None,
    *,
    allow_pickle: bool = False,
    step: Callable[[str], None] | None = None,
) -> Path:
    """The folder with the repository's files: the local copy where there is one, else fetched.

    A gated repository is asked for with the token in HF_TOKEN (or that of `hf auth login`). step: told one sentence
    before anything is fetched. Raises ModelError that says which: unknown, gated, no such revision, or unreachable.
    """
    wanted = [*WANTED, *PICKLES] if allow_pickle else WANTED
    ref = f"{name}@{revision}" if revision else name
    try:
        try:
            local = snapshot_download(
                name, revision=revision, allow_patterns=wanted, ignore_patterns=UNWANTED, local_files_only=True
            )
        except LocalEntryNotFoundError:
            # Asked first, so that a name that is not there is refused without a word of fetching it.
            model_info(name, revision=revision)
            if step is not None:
                step(f"fetching {ref} from the hub")
            local = snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=UNWANTED)
    except GatedRepoError as error:
        raise _gated(name) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"the hub has no model '{name}' that it would show.",
            "Check the name. A private model needs a token: set HF_TOKEN.",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{name} has no revision '{revision}'.", "Give a branch, a tag or a commit of the repository."
        ) from error
    except HfHubHTTPError as error:
        if error.response.status_code in UNAUTHORISED:
            raise _gated(name) from error
        raise ModelError(
            f"the hub refused {ref}: {str(error).splitlines()[0][:200]}", "Try again later, or open a local folder."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError, ConnectionError, TimeoutError) as error:
        raise _unreachable(ref) from error
    return Path(local)


def _gated(name: str) -> ModelError:
    held = "the token in HF_TOKEN has not been granted it" if os.environ.get("HF_TOKEN") else "no HF_TOKEN is set"
    return ModelError(
        f"{name} is gated or private, and {held}.",
        f"Accept its licence at https://huggingface.co/{name}, then set HF_TOKEN to a token of that account.",
    )


def _unreachable(ref: str) -> ModelError:
    return ModelError(
        f"{ref} is not on this machine, and the hub cannot be reached.",
        "Connect (or unset HF_HUB_OFFLINE), or open a local folder or a .gguf file.",
    )
