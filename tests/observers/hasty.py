"""See how long a half wants to pause, without waiting for it."""

import asyncio
from typing import Any


class Hasty:
    """Stands for the name `asyncio` in a half: notes each `sleep`, and only lets others run."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
