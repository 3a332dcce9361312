"""What a plan says for every kind of difference. Values only: no process, no file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.catalog.catalog import LocatedModel
from lmrun.catalog.memory import Estimate
from lmrun.errors import SourceMissing
from lmrun.profile.schema import ModelConfig, ServerConfig
from lmrun.reconcile.desired import Desired, DesiredModel
from lmrun.reconcile.outcome import Action, MemoryPrice
from lmrun.reconcile.plan import Observed, ObservedInstance, choose_way, make_plan
from lmrun.reconcile.status import InstanceState
from lmrun.runtime.spec import InstanceSpec
from lmrun.settings.load import GpuConfig, LoadConfig
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.secret import Secret

SERVER = ServerConfig()


def spec(identifier: str = "a", **changes: Any) -> InstanceSpec:
    base = InstanceSpec(
        identifier=identifier,
        model_key=identifier,
        engine="scripted",
        path=Path(f"/models/{identifier}.scripted.json"),
        size=10,
        mtime_ns=1,
        load=LoadConfig(),
    )
    return replace(base, **changes)


def model(
    wanted: InstanceSpec, *, state: str = "loaded", preset: str | None = None
) -> DesiredModel:
    config = ModelConfig.model_validate(
        {
            "source": f"file:{wanted.path}",
            "state": state,
            "identifier": wanted.identifier,
            "load": wanted.load,
            "preset": preset,
        }
    )
    return DesiredModel(wanted.model_key, config, None, wanted, memory_bytes=100)


def plan(
    models: list[DesiredModel],
    instances: list[ObservedInstance],
    *,
    server: ServerConfig = SERVER,
    observed_server: ServerConfig | None = SERVER,
) -> tuple[Action, ...]:
    desired = Desired(server=server, models=tuple(models))
    return make_plan(desired, Observed(observed_server, tuple(instances)), 1).actions


def ready(
    of: InstanceSpec, *, state: InstanceState = "ready", in_flight: int = 0
) -> ObservedInstance:
    return ObservedInstance(of, state, in_flight, memory_bytes=100)


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert plan([model(spec())], [ready(spec())]) == ()


def test_a_model_that_is_loading_or_restarting_needs_nothing() -> None:
    assert plan([model(spec())], [ready(spec(), state="loading")]) == ()


def test_a_new_model_is_loaded() -> None:
    (action,) = plan([model(spec())], [])
    assert (action.kind, action.target, action.fetch_bytes) == ("Load", "a", 0)
    assert action.memory_bytes == 100


def test_a_model_whose_file_is_not_here_says_that_it_fetches_an_unknown_amount() -> None:
    missing = replace(model(spec()), spec=None)
    (action,) = plan([missing], [])
    assert (action.kind, action.fetch_bytes) == ("Load", None)


def test_a_model_that_cannot_be_had_is_still_in_the_plan_so_that_its_error_is_told() -> None:
    broken = replace(model(spec()), spec=None, error=SourceMissing("gone"))
    (action,) = plan([broken], [])
    assert (action.kind, action.fetch_bytes, action.problem) == ("Load", 0, "gone")


def test_a_failed_instance_is_loaded_again() -> None:
    (action,) = plan([model(spec())], [ready(spec(), state="failed")])
    assert action.kind == "Load"
    assert action.changes[0].old == "failed"


@pytest.mark.parametrize("state", ["absent", None])
def test_a_model_that_is_declared_absent_or_not_at_all_is_unloaded(state: str | None) -> None:
    models = [model(spec(), state=state)] if state else []
    (action,) = plan(models, [ready(spec(), in_flight=3)])
    assert (action.kind, action.target, action.streams) == ("Unload", "a", 3)
    assert action.memory_bytes == -100


@pytest.mark.parametrize(
    ("load", "field"),
    [
        (LoadConfig(context_length=64), "models.a.load.context_length"),
        (LoadConfig(flash_attention=False), "models.a.load.flash_attention"),
        (LoadConfig(gpu=GpuConfig(ratio="off")), "models.a.load.gpu"),
        (LoadConfig(threads=1), "models.a.load.threads"),
    ],
)
def test_a_changed_load_setting_is_a_reload_that_names_it(load: LoadConfig, field: str) -> None:
    (action,) = plan([model(spec(load=load))], [ready(spec(), in_flight=1)])
    assert (action.kind, action.streams) == ("Reload", 1)
    assert [change.field for change in action.changes] == [field]


def test_a_changed_gpu_ratio_is_named_down_to_the_leaf() -> None:
    old, new = (LoadConfig(gpu=GpuConfig(ratio=ratio)) for ratio in (0.5, 0.75))
    (action,) = plan([model(spec(load=new))], [ready(spec(load=old))])
    (change,) = action.changes
    assert (change.field, change.old, change.new) == ("models.a.load.gpu.ratio", "0.5", "0.75")


@pytest.mark.parametrize(
    "changed", [{"path": Path("/models/other.gguf")}, {"size": 11}, {"mtime_ns": 2}]
)
def test_another_file_is_a_reload(changed: dict[str, Any]) -> None:
    (action,) = plan([model(spec(**changed))], [ready(spec())])
    assert action.kind == "Reload"
    assert action.changes[0].field == "models.a.source"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"prediction": PredictionConfig(temperature=0.1)}, "presets.p.prediction.temperature"),
        ({"prediction": PredictionConfig(max_tokens=5)}, "presets.p.prediction.max_tokens"),
        ({"system_prompt": "Be brief."}, "presets.p.system_prompt"),
    ],
)
def test_a_changed_preset_is_an_update(changed: dict[str, Any], field: str) -> None:
    (action,) = plan([model(spec(**changed), preset="p")], [ready(spec())])
    assert action.kind == "Update"
    assert [change.field for change in action.changes] == [field]


def test_a_reload_brings_changed_defaults_along_instead_of_a_second_action() -> None:
    wanted = spec(load=LoadConfig(threads=1), prediction=PredictionConfig(top_k=1))
    actions = plan([model(wanted)], [ready(spec())])
    assert [action.kind for action in actions] == ["Reload"]


def test_the_first_profile_opens_the_port_first() -> None:
    actions = plan([model(spec())], [], observed_server=None)
    assert [action.kind for action in actions] == ["Listen", "Load"]
    assert actions[0].target == "127.0.0.1:1234"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"port": 4321}, "Listen"),
        ({"host": "::1"}, "Listen"),
        ({"allowed_hosts": ["box"]}, "Update"),
        ({"limits": {"queue": 1}}, "Update"),
        ({"cors": ["https://app.example"]}, "Update"),
    ],
)
def test_server_settings_move_the_port_or_are_updated_in_place(
    changed: dict[str, Any], kind: str
) -> None:
    (action,) = plan([], [], server=ServerConfig.model_validate(changed))
    assert (action.kind, action.model) == (kind, None)


def test_memory_is_given_back_before_it_is_taken() -> None:
    reloaded = spec("b", load=LoadConfig(threads=1))
    actions = plan(
        [model(spec("new")), model(reloaded), model(spec("c", system_prompt="x"))],
        [ready(spec("old")), ready(spec("b")), ready(spec("c"))],
    )
    assert [action.kind for action in actions] == ["Unload", "Update", "Reload", "Load"]


def test_wanting_nothing_unloads_everything_and_leaves_the_port() -> None:
    instances = (ready(spec("a")), ready(spec("b")))
    actions = make_plan(None, Observed(SERVER, instances), 1).actions
    assert [(action.kind, action.target) for action in actions] == [
        ("Unload", "a"),
        ("Unload", "b"),
    ]


def test_a_changed_secret_is_told_without_being_shown() -> None:
    def server(key: str) -> ServerConfig:
        return ServerConfig.model_validate({"api_keys": [{"name": "ci", "key": Secret(key)}]})

    (action,) = plan([], [], server=server("new"), observed_server=server("old"))
    (change,) = action.changes
    assert change.field == "server.api_keys"
    assert str(change.new).endswith("(a secret in it changed)")
    assert "new" not in str(change.new).replace("(a secret in it changed)", "")


ADAPTED = spec(
    load=LoadConfig.model_validate({"adapters": [{"source": "file:a.gguf"}]}),
    adapters=(LocatedModel(Path("/a.gguf"), 1, 1),),
)


@pytest.mark.parametrize(
    "file",
    [
        LocatedModel(Path("/a.gguf"), 2, 1),
        LocatedModel(Path("/a.gguf"), 1, 2),
        LocatedModel(Path("/b.gguf"), 1, 1),
    ],
    ids=["size", "time", "path"],
)
def test_a_changed_adapter_file_is_a_reload(file: LocatedModel) -> None:
    (action,) = plan([model(replace(ADAPTED, adapters=(file,)))], [ready(ADAPTED)])
    assert action.kind == "Reload"
    assert [change.field for change in action.changes] == ["models.a.load.adapters[0]"]


def test_another_scale_of_an_adapter_is_a_reload_by_its_setting() -> None:
    scaled = LoadConfig.model_validate({"adapters": [{"source": "file:a.gguf", "scale": 0.5}]})
    (action,) = plan([model(replace(ADAPTED, load=scaled))], [ready(ADAPTED)])
    assert (action.kind, action.changes[0].field) == ("Reload", "models.a.load.adapters")


def test_other_prompts_to_prewarm_are_an_update() -> None:
    (action,) = plan([model(spec(prewarm=("new",)))], [ready(spec(prewarm=("old",)))])
    assert (action.kind, action.changes[0].field) == ("Update", "models.a.prewarm")


def estimated(of: DesiredModel, weights: int, cache: int) -> DesiredModel:
    estimate = Estimate(weights=weights, cache=cache)
    return replace(of, estimate=estimate, memory_bytes=weights + cache)


@pytest.mark.parametrize(
    ("free_bytes", "path", "wished", "way"),
    [
        (None, "/models/a.scripted.json", "blue_green", "blue_green"),
        (30, "/models/a.scripted.json", "blue_green", "blue_green"),
        (29, "/models/a.scripted.json", "blue_green", "recreate"),
        (129, "/models/other.scripted.json", "blue_green", "recreate"),
        (130, "/models/other.scripted.json", "blue_green", "blue_green"),
        (1000, "/models/a.scripted.json", "recreate", "recreate"),
    ],
)
def test_both_versions_run_side_by_side_where_memory_holds_them(
    free_bytes: int | None, path: str, wished: Any, way: str
) -> None:
    wanted = estimated(model(spec(load=LoadConfig(threads=1))), weights=100, cache=30)
    assert choose_way(wished, wanted, spec(path=Path(path)), free_bytes) == way


def test_a_reload_has_its_price() -> None:
    wanted = replace(model(spec(load=LoadConfig(threads=1))), memory_bytes=70, load_s=2.5)
    instance = replace(ready(spec(), in_flight=2), clients=("ci",))
    desired = Desired(server=SERVER, models=(wanted,))
    made = make_plan(desired, Observed(SERVER, (instance,), free_bytes=500), 1)
    (action,) = made.actions
    assert (action.memory_bytes, action.seconds, action.rollout) == (-30, 2.5, "blue_green")
    assert (action.streams, action.clients) == (2, ("ci",))
    assert made.memory == MemoryPrice(100, 70, 170, 500)


def test_memory_at_its_most_is_counted_in_the_order_of_the_actions() -> None:
    desired = Desired(server=SERVER, models=(model(spec("new")), model(spec("kept"))))
    instances = (ready(spec("gone")), ready(spec("kept")))
    made = make_plan(desired, Observed(SERVER, instances), 1)
    assert [action.kind for action in made.actions] == ["Unload", "Load"]
    assert made.memory == MemoryPrice(200, 200, 200)


def test_the_seed_of_a_model_is_a_default_of_requests() -> None:
    wanted = spec(load=LoadConfig(seed=7), prediction=PredictionConfig(seed=7))
    (action,) = plan([model(wanted)], [ready(spec())])
    assert action.kind == "Update"
    assert [change.field for change in action.changes] == ["models.a.load.seed"]
