from typing import Any

G_LOGGER: Any
