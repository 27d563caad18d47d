from typing import Final

SOURCE_DIGEST: Final[str]

def trivial() -> int: ...
