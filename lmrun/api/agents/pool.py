"""Models and agents as one pool: whoever names an agent as a model gets a lease on it.

It knows no dialect: every one that answers from a pool answers for agents, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from lmrun.api.agents.lease import Agent, AgentInstance, AgentLease, as_agent
from lmrun.api.agents.workshop import Workshop
from lmrun.api.client import current_client
from lmrun.api.serving import Instance, Lease, Pool
from lmrun.errors import ModelNotFound, ModelNotReady
from lmrun.profile.presets import find_preset
from lmrun.profile.tooling.agents import AgentConfig
from lmrun.runtime.spec import InstanceSpec


class AgentPool:
    """The models of `pool`, and the agents of `workshop` beside them. An agent comes first
    where both have one name."""

    def __init__(self, pool: Pool, workshop: Workshop) -> None:
        self._pool = pool
        self._workshop = workshop

    @property
    def instances(self) -> Mapping[str, Instance]:
        """By identifier; an agent has the state of its model, and is there when that is."""
        models = self._pool.instances
        agents: dict[str, Instance] = {}
        for agent in self._agents():
            model = _find_instance(models, agent.config.model)
            if model is not None:
                agents[agent.name] = AgentInstance(model, as_agent(agent, model.spec))
        return {**models, **agents} if agents else models

    @property
    def offered(self) -> Sequence[InstanceSpec]:
        """What requests may name, by identifier: of agents those whose model they may name."""
        models = {spec.identifier: spec for spec in self._pool.offered}
        agents = {
            agent.name: as_agent(agent, spec)
            for agent in self._agents()
            if (spec := _find_spec(models, agent.config.model)) is not None
        }
        offered = {**models, **agents}
        return tuple(offered[name] for name in sorted(offered))

    def acquire(
        self, name: str, *, ttl_s: float | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """A lease on the model or agent called `name`. Raises as `Pool.acquire`, ModelNotReady for
        an agent that is being changed, and Forbidden for one with tools, or with what
        MCP servers give, where the client's API key does not grant `tools`."""
        config = self._workshop.agents.get(name)
        if config is None:
            return _Acquiring(self._pool.acquire(name, ttl_s=ttl_s), self._workshop)
        agent = self._make_agent(name, config)
        if agent is None:
            raise ModelNotReady(f"The agent {name!r} is being changed.", retry_after_s=1)
        return _AcquiringAgent(self._pool.acquire(config.model, ttl_s=ttl_s), self._workshop, agent)

    def _agents(self) -> list[Agent]:
        agents = self._workshop.agents
        found = (self._make_agent(name, config) for name, config in agents.items())
        return [agent for agent in found if agent is not None]

    def _make_agent(self, name: str, config: AgentConfig) -> Agent | None:
        """None while the profile that is applied already has no preset for what is still there."""
        profile = self._workshop.profile
        presets = profile.presets if profile is not None else {}
        preset = find_preset(presets, config.preset)
        return None if preset is None else Agent(name, config, preset)


class _Acquiring(AbstractAsyncContextManager[Lease]):
    """Not a generator, which would have to be resumed for every request there is."""

    def __init__(self, acquiring: AbstractAsyncContextManager[Lease], workshop: Workshop) -> None:
        self._acquiring = acquiring
        self._workshop = workshop

    async def __aenter__(self) -> Lease:
        try:
            return await self._acquiring.__aenter__()
        except ModelNotFound as error:
            if names := ", ".join(sorted(self._workshop.agents)):
                error.hint = f"{error.hint or ''} Agents are: {names}.".lstrip()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._acquiring.__aexit__(kind, error, trace)


class _AcquiringAgent(_Acquiring):
    """The model that an agent asks, held by the agent."""

    def __init__(
        self, acquiring: AbstractAsyncContextManager[Lease], workshop: Workshop, agent: Agent
    ) -> None:
        super().__init__(acquiring, workshop)
        self._agent = agent

    async def __aenter__(self) -> Lease:
        if self._agent.uses_tools:
            # Before its model is loaded for somebody who may not use it.
            current_client().require("tools", f"The agent {self._agent.name!r}")
        return AgentLease(self._agent, self._workshop, await super().__aenter__())


def _find_instance(instances: Mapping[str, Instance], name: str) -> Instance | None:
    """The instance called `name`, else one of the model `name`: one that is ready, if any is."""
    if name in instances:
        return instances[name]
    of_model = [it for it in instances.values() if it.spec.model_key == name]
    ready = (it for it in of_model if it.state == "ready")
    return next(ready, of_model[0] if of_model else None)


def _find_spec(specs: Mapping[str, InstanceSpec], name: str) -> InstanceSpec | None:
    """The same among what requests may name."""
    if name in specs:
        return specs[name]
    return next((spec for spec in specs.values() if spec.model_key == name), None)
