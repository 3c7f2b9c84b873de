"""What a rollout may read and change, and how it is judged.

A world is a folder of its own for each rollout. `prepare(task, world)` fills it, stdio servers find it in
`TUTELAGE_WORLD` (and as their working directory), HTTP servers get its id in the header `X-Tutelage-World`, and
`verify(trace, world)` reads what was left there. It is removed when the rollout has been judged.
"""

from tutelage.world.functions import load_function
from tutelage.world.world import ROOT_VARIABLE, WORLD_HEADER, WORLD_VARIABLE, Reward, World, open_world, worlds_folder

__all__ = [
    "ROOT_VARIABLE",
    "WORLD_HEADER",
    "WORLD_VARIABLE",
    "Reward",
    "World",
    "load_function",
    "open_world",
    "worlds_folder",
]
