"""Tools that are functions of Python: which there are, and why others are not. It knows no
policy."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lmrun.profile.tooling.tools import ToolConfig
from lmrun.tools.functions.pool import START_TIMEOUT_S, Pool, PoolFailed
from lmrun.tools.functions.process import Workplace
from lmrun.tools.functions.tool import FunctionTool
from lmrun.tools.processes.program import Limits, choose_environment, tell_unkept
from lmrun.tools.tool import Tool


class FunctionHost:
    """`tools`: by their keys; `faults`: why one is not among them. Whoever opens a host closes it.

    Tools of one module which may use and see the same share processes: a module is imported once
    for all its functions, and one that cannot be imported takes no other with it.
    """

    def __init__(self, pools: list[Pool]) -> None:
        self.tools: Mapping[str, Tool] = {}
        self.faults: Mapping[str, str] = {}
        self._pools = pools

    @classmethod
    async def open(
        cls,
        configs: Mapping[str, ToolConfig],
        dirs: Mapping[str, Path],
        environment: Mapping[str, str],
        *,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> Self:
        """The functions among `configs`, by their keys; `dirs`: where their modules lie;
        `environment`: the server's. A process is started for each module, to look at it."""
        places = _make_places(configs, dirs, environment)
        host = cls([Pool(place, start_timeout_s=start_timeout_s) for place in places])
        try:
            found = await asyncio.gather(
                *(
                    _look(pool, {key: configs[key] for key in place.functions})
                    for pool, place in zip(host._pools, places, strict=True)
                )
            )
        except BaseException:
            await host.close()
            raise
        host.tools = {key: tool for tools, _ in found for key, tool in tools.items()}
        host.faults = {key: fault for _, faults in found for key, fault in faults.items()}
        return host

    async def close(self) -> None:
        """End every process; one that is at a call ends with it."""
        await asyncio.gather(*(pool.close() for pool in self._pools))


async def _look(
    pool: Pool, configs: Mapping[str, ToolConfig]
) -> tuple[dict[str, FunctionTool], dict[str, str]]:
    """Which of the functions can be called, and why the others cannot."""
    try:
        async with pool.process():
            pass  # it has described itself
    except PoolFailed as failure:
        return {}, dict.fromkeys(configs, str(failure))
    tools = {key: FunctionTool(key, config, pool) for key, config in configs.items()}
    faults = {key: fault for key, tool in tools.items() if (fault := tool.fault) is not None}
    if len(faults) == len(tools):
        await pool.close()
    return {key: tool for key, tool in tools.items() if key not in faults}, faults


def _make_places(
    configs: Mapping[str, ToolConfig], dirs: Mapping[str, Path], environment: Mapping[str, str]
) -> list[Workplace]:
    """One for all the functions that may share processes."""
    groups: defaultdict[object, dict[str, ToolConfig]] = defaultdict(dict)
    for key, config in configs.items():
        if config.python is not None:
            module = config.python.partition(":")[0]
            shares = (dirs[key], module, config.cwd, frozenset(config.env), config.limits)
            groups[shares][key] = config
    return [_make_place(group, dirs, environment) for group in groups.values()]


def _make_place(
    group: Mapping[str, ToolConfig], dirs: Mapping[str, Path], environment: Mapping[str, str]
) -> Workplace:
    key, config = next(iter(group.items()))
    tell_unkept(key)
    limits = Limits.of(config.limits)
    return Workplace(
        directory=dirs[key],
        module=str(config.python).partition(":")[0],
        functions={key: str(each.python).partition(":")[2] for key, each in group.items()},
        cwd=dirs[key] / config.cwd if config.cwd is not None else dirs[key],
        environment=choose_environment(environment, config.env),
        # Processor time is counted for each call: the process outlives it.
        limits=Limits(None, limits.memory, limits.processes, limits.file_size),
    )
