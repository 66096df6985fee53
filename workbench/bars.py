"""Progress bars of the libraries underneath, which would cross ours on standard error."""

from __future__ import annotations

import sys

from huggingface_hub.utils import disable_progress_bars


def hide_bars() -> None:
    """Show none in this process. transformers asks the hub's library when it is imported: perhaps before now."""
    disable_progress_bars()
    if (known := sys.modules.get("transformers.utils.logging")) is not None:
        known.disable_progress_bar()
