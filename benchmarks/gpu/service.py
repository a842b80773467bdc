"""The Multi-Process Service of NVIDIA's driver: kernels of several processes run at the same time, and not in turns."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"


def names_of(folder: Path) -> dict[str, str]:
    """The variables by which programs find a service."""
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}


def control() -> str | None:
    """The program that starts and ends the service."""
    return shutil.which(CONTROL, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/nvidia/bin"]))


def end(folder: Path) -> None:
    """End a service that an earlier program started, if there is one."""
    if (program := control()) and (folder / "pipe" / "control").exists():
        with suppress(subprocess.TimeoutExpired):
            subprocess.run([program], input="quit\n", env={**os.environ, **names_of(folder)}, timeout=20, capture_output=True, text=True)


@contextmanager
def shared(
    folder: Path,  # of the service's pipes and logs
) -> Iterator[str]:  # why there is no service, empty where it runs
    """Run the service inside the block: processes that are started there use it, this one does not."""
    if not (program := control()):
        yield f"{CONTROL} was not found"
        return
    names = names_of(folder)
    for place in names.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    begun = subprocess.run([program, "-d"], env={**os.environ, **names}, timeout=20, capture_output=True, text=True)
    if begun.returncode:
        yield f"{CONTROL} said {(begun.stderr or begun.stdout).strip()[-200:]}"
        return
    os.environ.update(names)
    try:
        yield ""
    finally:
        for name in names:
            os.environ.pop(name, None)
        end(folder)
