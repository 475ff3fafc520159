"""Command line."""

import os

# pydantic looks for plugins in the metadata of all installed packages, which takes 20 ms and more; aepipe has none
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
