"""What a figure was measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """Date, processor, accelerator and the versions that decide how fast it is."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
    }
