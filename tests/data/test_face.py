"""The face of the wing: what other rooms and pages import."""

import importlib
import pkgutil

from semicon_nb import data


def test_the_face_has_every_public_name_of_the_wing():
    modules = [importlib.import_module(f"{data.__name__}.{found.name}") for found in pkgutil.iter_modules(data.__path__)]
    public = {name for module in modules for name in module.__all__}
    assert public and not {name for name in public if not hasattr(data, name)}
