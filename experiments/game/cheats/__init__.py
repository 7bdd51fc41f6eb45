"""Caches that cheat, one trick each: what an honest accountant must stop, expose or count.

Every cheat answers from all keys and values but sends next to nothing: it hides its state somewhere else
and looks for it on Bob's side. In one process most of them succeed, which is what `impossible` is for. A
padded one sends as many bytes as an honest cache, so that no count can expose it: isolation must stop it.
"""

from kvfloor.experiments.game.cheats.base import Cheat
from kvfloor.experiments.game.cheats.files import (
    FixedFile,
    ModuleFolder,
    SharedMemoryFile,
    Snoop,
    TemporaryFolder,
)
from kvfloor.experiments.game.cheats.judge import JudgesMemory
from kvfloor.experiments.game.cheats.memory import (
    ClassAttribute,
    Closure,
    EnvironmentVariable,
    LoadedModules,
    ModuleGlobal,
)
from kvfloor.experiments.game.cheats.message import DeclaredSize, Padded, PayloadLength, PublicCoins
from kvfloor.experiments.game.cheats.running import (
    AbstractSocket,
    Keyring,
    StubbornProcess,
    Subprocess,
    SubprocessOfTheGroup,
    SystemVMemory,
    Thread,
)

__all__ = ["CHEATS", "LEAKING", "OUTSIDE", "PADDED", "Cheat"]

LEAKING = "kvfloor.experiments.game.cheats:ModuleGlobal"
"""The cheat that every check of bits must catch: its state stays outside the bytes."""

CHEATS: tuple[type[Cheat], ...] = (
    ModuleGlobal,
    ClassAttribute,
    Closure,
    LoadedModules,
    FixedFile,
    TemporaryFolder,
    EnvironmentVariable,
    Snoop,
    PublicCoins,
    Subprocess,
    SubprocessOfTheGroup,
    Thread,
    StubbornProcess,
    PayloadLength,
    DeclaredSize,
)
"""What counting deals with."""

OUTSIDE: tuple[type[Cheat], ...] = (
    FixedFile, TemporaryFolder, ModuleFolder, SharedMemoryFile, Subprocess, StubbornProcess, Thread,
    AbstractSocket, SystemVMemory, Keyring, JudgesMemory,
)  # fmt: skip
"""Those that reach from one process into another: what isolation deals with."""

PADDED: tuple[type[Cheat], ...] = tuple(map(Padded.of, OUTSIDE))
"""The same, unseen by any count."""

globals().update({cheat.__name__: cheat for cheat in PADDED})  # so that an audit can name them
