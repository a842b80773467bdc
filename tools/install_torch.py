"""Install the pinned torch: its CPU build on a Linux machine without an NVIDIA GPU, else what pip takes.

python tools/install_torch.py        (into the environment of this Python)

On Linux pip brings torch with CUDA, some gigabytes. uv knows by itself where the CPU builds are; where it cannot
get there, pip does what it always does.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/sys/module/nvidia/version"))


def pinned(name: str) -> str:
    """The line of constraints.txt for a package, such as torch==2.13.0."""
    return re.search(rf"^{name}==.*$", CONSTRAINTS.read_text(encoding="utf-8"), re.M)[0]


def there(line: str) -> bool:
    """Whether NAME==VERSION is installed, in whatever build."""
    name, version = line.split("==")
    try:
        return metadata.version(name).split("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


def wants_cpu_build() -> bool:
    """Linux without an NVIDIA GPU; elsewhere pip's own choice is right."""
    nvidia = shutil.which("nvidia-smi") or any(path.exists() for path in NVIDIA)
    return sys.platform == "linux" and not nvidia


def done(command: Sequence[str]) -> bool:
    """Whether a command of uv ends well; what it says to that stays unseen. One try more, 20 s for an answer."""
    patience = {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "20", **os.environ}
    return subprocess.run(command, env=patience, capture_output=True).returncode == 0


def main() -> int:
    """Install torch, and say so where it is not the build that was wanted."""
    torch = pinned("torch")
    if there(torch):
        return 0
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile", "-c", str(CONSTRAINTS)]
    if wants_cpu_build():
        uv = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, "-c", str(CONSTRAINTS)]
        if done([*pip, "uv"]) and done([*uv, "--torch-backend", "cpu", torch]):
            return 0
        print(f"{torch}: the list of CPU builds cannot be reached from here; pip takes the build it finds", flush=True)
    return subprocess.run([*pip, torch]).returncode


if __name__ == "__main__":
    sys.exit(main())
