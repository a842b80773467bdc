"""Hands settings.ini, the one source of this package's metadata, to setuptools."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

settings = ConfigParser(delimiters=["="])
settings.read("settings.ini", encoding="utf-8")
package = settings["DEFAULT"]


def lines(name: str) -> list[str]:
    """The entries of a field that holds one a line."""
    return [line.strip() for line in package[name].splitlines() if line.strip()]


python = [f"3.{minor}" for minor in range(int(package["min_python"].split(".")[1]), 14)]
setup(
    version=package["version"],
    author=package["author"],
    license_expression=package["license"],
    keywords=package["keywords"].split(),
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    classifiers=[
        f"Development Status :: {package['status']}",
        f"Intended Audience :: {package['audience']}",
        "Framework :: Jupyter",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        *(f"Programming Language :: Python :: {version}" for version in python),
    ],
    install_requires=lines("requirements"),
    extras_require={"dev": lines("dev_requirements"), "cluster": lines("cluster_requirements")},
    entry_points={
        "console_scripts": lines("console_scripts"),
        "nbdev": [f"{package['lib_name']}={package['lib_name']}._modidx:d"],
    },
)
