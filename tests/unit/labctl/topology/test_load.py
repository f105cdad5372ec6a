"""What a correct topology gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.problem import Problem, Severity
from labctl.plugin.loader import Plugins
from labctl.testing.kinds import SMALL_MACHINE, TestPlugin, compile_text, lab_info, plugins_of, read_topology
from labctl.topology.choices import Choices
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import find_topology, load
from labctl.topology.names import expand
from labctl.topology.schema import json_schema

from .sample_kinds import KINDS, HostKind, VmKind

NETWORK = '[network.prod]\nrole = "production"\nsubnet = "10.0.0.0/29"\n'


def names(text: str, kind: str) -> list[str]:
    return [resource.name for resource in read_topology(text, *KINDS).resources(kind)]


def test_ranges_and_counts_expand_in_the_files_order() -> None:
    text = '[host."esx[1-3]"]\n[host."rack[01-02]-[8,10]"]\n[host.web]\ncount = 2\n[host.one]\n'
    assert names(text, "host") == [
        "esx1", "esx2", "esx3",
        "rack01-8", "rack01-10", "rack02-8", "rack02-10",
        "web1", "web2", "one",
    ]  # fmt: skip


@given(st.integers(0, 300), st.integers(0, 50))
def test_a_range_has_as_many_different_names_as_it_says(first: int, more: int) -> None:
    found = expand(f"esx[{first}-{first + more}]")
    assert len(set(found)) == more + 1
    assert found[0] == f"esx{first}"
    assert found[-1] == f"esx{first + more}"


def test_ranges_in_lists_of_references_are_spread() -> None:
    topology = read_topology('[host."esx[1-3]"]\n[host.old]\n[group.all]\nmembers = ["esx[1-3]", "old"]\n', *KINDS)
    group = topology.resource(Address("group", "all"))
    assert group.spec.members == ("esx1", "esx2", "esx3", "old")


def test_references_may_be_mutual_where_the_kind_says_so() -> None:
    topology = read_topology('[group.a]\npeers = ["b"]\n[group.b]\npeers = ["a"]\n', *KINDS)
    assert [link.name for link in topology.references[Address("group", "a")]] == ["b"]


def test_a_warning_does_not_stop_and_keeps_its_place() -> None:
    class Careful(HostKind):
        def check(self, resource, view):  # type: ignore[no-untyped-def]
            yield Problem(path=resource.path("cpus"), message="that is many", severity=Severity.WARNING)

    topology = read_topology("[host.esx1]\ncpus = 64\n", Careful())
    assert [(str(found.position), found.message) for found in topology.warnings] == [
        ("topology.toml:2:8", "that is many")
    ]


def test_a_check_that_raises_a_lab_error_is_a_problem_with_a_place() -> None:
    class Strict(HostKind):
        def check(self, resource, view):  # type: ignore[no-untyped-def]
            raise LabError("too big for this machine", hint=f"{view.machine().cpus} CPUs are all")

    with pytest.raises(TopologyError) as caught:
        read_topology("[host.esx1]\n", Strict())
    assert str(caught.value) == "topology.toml:1:1: error: host.esx1: too big for this machine (4 CPUs are all)"


def test_checks_do_not_see_what_is_already_known_to_be_wrong() -> None:
    class Following(VmKind):
        def check(self, resource, view):  # type: ignore[no-untyped-def]
            if resource.spec.host:
                view.resource(Address("host", resource.spec.host))
            return ()

    kinds = [kind for kind in KINDS if kind.name != "vm"]
    with pytest.raises(TopologyError) as caught:
        read_topology('[host.esx1]\ncpus = "x"\n[vm.a]\nhost = "esx1"\n[vm.b]\nhost = "esx9"\n', *kinds, Following())
    assert [problem.path[1] for problem in caught.value.problems] == ["esx1", "b"]


def test_compilation_is_deterministic_and_choices_are_unique() -> None:
    text = NETWORK + '[vm."web[1-3]"]\nnics = [{ network = "prod" }]\n'
    first, second = compile_text(text, *KINDS), compile_text(text, *KINDS)
    assert first == second
    assert sorted(first.choices.values()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert first.descriptions[Address("vm", "web1")].summary == "268435456 bytes"


def test_a_fixed_address_is_taken_before_any_is_chosen() -> None:
    text = (
        NETWORK + '[vm.a]\nnics = [{ network = "prod" }]\n[vm.b]\nnics = [{ network = "prod", address = "10.0.0.1" }]\n'
    )
    chosen = compile_text(text, *KINDS).choices
    assert chosen == {("address/prod", "a/nic0"): "10.0.0.2", ("address/prod", "b/nic0"): "10.0.0.1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[vm.a]\nnics = [{ network = "prod", address = "10.0.0.1" }]\n'
            '[vm.b]\nnics = [{ network = "prod", address = "10.0.0.1" }]\n',
            ["topology.toml:6:1: error: vm.b: 10.0.0.1 is taken by a/nic0 (values of address/prod must differ)"],
        ),
        (
            '[vm."web[1-7]"]\nnics = [{ network = "prod" }]\n',
            [
                "topology.toml:4:1: error: vm.web[1-7]: nothing is left in address/prod for web7/nic0 "
                "(make the pool larger, or use fewer of it)"
            ],
        ),
        ("[vm.cursed]\n", ["topology.toml:4:1: error: vm.cursed: cannot be compiled (lift the curse)"]),
    ],
)
def test_errors_of_compilation_have_a_place_too(text: str, expected: list[str]) -> None:
    with pytest.raises(TopologyError) as caught:
        compile_text(NETWORK + text, *KINDS)
    assert str(caught.value).splitlines() == expected


def test_units_that_contradict_each_other_are_told() -> None:
    class Twin(HostKind):
        def compile(self, resource, view):  # type: ignore[no-untyped-def]
            from labctl.model.unit import Unit

            yield Unit(id="x:1", type="x", resource=resource.address, spec={}, needs=("x:1",))
            yield Unit(id=f"x:{resource.name}", type="x", resource=resource.address, spec={}, needs=("x:9",))

    with pytest.raises(TopologyError) as caught:
        compile_text("[host.a]\n[host.b]\n", Twin())
    assert [problem.message for problem in caught.value.problems] == [
        "needs itself: x:1 → x:1",
        "x:a needs x:9, which nothing makes",
        "x:1 is made by host.a too",
        "x:b needs x:9, which nothing makes",
    ]


def test_earlier_choices_are_kept_and_a_newcomer_gets_what_nobody_had() -> None:
    choices = Choices({("p", "a"): "1", ("p", "b"): "2"})
    chosen = [choices.choose("p", key, ["1", "2", "3"], bool) for key in ("new", "b", "a", "a")]
    assert chosen == ["3", "2", "1", "1"]


def test_a_choice_that_no_longer_suits_is_made_anew_and_a_freed_value_is_used_last() -> None:
    choices = Choices({("p", "a"): "9", ("p", "gone"): "1"})
    assert choices.choose("p", "a", ["1", "2"], valid=lambda value: value != "9") == "2"
    assert choices.choose("p", "b", ["1", "2"], valid=bool) == "1"


def test_a_placement_stays_as_long_as_it_is_possible() -> None:
    choices = Choices({("host", "web1"): "esx2"})
    assert choices.place("host", "web1", ["esx1", "esx2"]) == "esx2"
    assert choices.place("host", "db1", ["esx1", "esx2"]) == "esx1"
    assert Choices({("host", "web1"): "esx2"}).place("host", "web1", ["esx1"]) == "esx1"


def test_providers_are_asked_once_and_what_is_not_offered_is_an_error_with_a_place(tmp_path: Path) -> None:
    class Storage:
        pass

    class Offering(HostKind):
        asked = 0

        def provide(self, contract, resource, view):  # type: ignore[no-untyped-def]
            Offering.asked += 1
            return Storage() if contract is Storage else None

        def compile(self, resource, view):  # type: ignore[no-untyped-def]
            first = view.provider(resource.address, Storage)
            assert view.provider(resource.address, Storage) is first
            view.provider(resource.address, int)
            return ()

    topology = read_topology("[host.esx1]\n", Offering())
    with pytest.raises(TopologyError, match=r"topology.toml:1:1: error: host.esx1: host.esx1 offers no int"):
        compile_topology(topology, lab_info(tmp_path), {}, plugins_of(Offering()))
    assert Offering.asked == 2


def test_a_topology_is_found_by_path_or_by_an_examples_name(tmp_path: Path) -> None:
    (tmp_path / "two-hosts.toml").write_text('[lab]\nname = "two-hosts"\n')
    plugins = Plugins.from_modules({"mine": TestPlugin(KINDS, topologies=[tmp_path])})
    assert find_topology("two-hosts", plugins) == tmp_path / "two-hosts.toml"
    assert find_topology(str(tmp_path / "two-hosts.toml"), plugins) == tmp_path / "two-hosts.toml"
    with pytest.raises(LabError, match='no example named "two-host"') as caught:
        find_topology("two-host", plugins)
    assert caught.value.hint == 'did you mean "two-hosts"?'
    with pytest.raises(LabError, match="is a folder"):
        find_topology(str(tmp_path), plugins)


def test_a_lab_can_be_named_from_outside(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[lab]\nname = "one"\ndescription = "for learners"\n')
    topology = load(tmp_path / "t.toml", plugins_of(*KINDS), name="two", machine=SMALL_MACHINE)
    assert (topology.name, topology.description) == ("two", "for learners")


def test_a_file_that_cannot_be_read_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot read"):
        load(tmp_path / "none.toml", plugins_of())
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="no UTF-8"):
        load(tmp_path / "b.toml", plugins_of())


def test_the_schema_for_editors_follows_the_installed_kinds() -> None:
    schema = json.loads(json.dumps(json_schema(plugins_of(*KINDS).kinds)))
    assert set(schema["properties"]) == {"lab", "network", "datastore", "host", "vm", "group"}
    (vm,) = schema["properties"]["vm"]["patternProperties"].values()
    assert vm["additionalProperties"] is False
    assert "count" in vm["properties"]
    assert schema["$defs"]["DiskSpec"]["properties"]["datastore"]["x-labctl-ref"] == ["datastore"]
    assert schema["properties"]["lab"]["properties"]["name"]["maxLength"] == 20
