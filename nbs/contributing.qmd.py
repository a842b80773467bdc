"""---
title: Contributing
description: How the pages, the package and the tests fit together.
---"""

from nbdev.config import get_config

text = (get_config().config_path / "CONTRIBUTING.md").read_text(encoding="utf-8")
print(text.split("\n", 1)[1])
