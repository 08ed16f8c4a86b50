"""The notebooks 1_create_server and 7_delete, run cell by cell against a stand-in of the cloud."""

from pathlib import Path

import pytest

from tests.cloud.kernel import Kernel, started
from tests.cloud.neutron import allocated
from tests.cloud.ssh import Machine
from tests.cloud.state import Cloud, named
from tests.cloud.student import Student, code_cells
from tests.integration.chameleon.conftest import MakeStudent, commit, kernel_environment

CREATE, DELETE = "1_create_server", "7_delete"
PORTS = {
    "allow-ssh": [22],
    "allow-8888": [8888],
    "allow-8000": [8000],
    "allow-8080": [8080],
    "allow-5050": [5050],
    "allow-8090": [8090],
    "allow-8081": [8081],
    "allow-9001": [9001],
    "allow-3000": [3000],
}


def assert_provisioned(cloud: Cloud, student: Student) -> None:
    """One of each: lease, server in its reservation, floating IP; nine security groups, each with its port."""
    (lease,) = named(cloud.leases, student.lease)
    assert lease["status"] == "ACTIVE"
    (server,) = named(cloud.servers, student.node)
    assert server["status"] == "ACTIVE"
    assert server["flavor"]["original_name"] == f"reservation:{lease['reservations'][0]['id']}"
    assert server["image"] == {"id": cloud.images["CC-Ubuntu24.04"]["id"]}
    assert cloud.group_ports(student.node) == PORTS
    (port,) = (each for each in cloud.ports.values() if each["device_id"] == server["id"])
    assert [each["description"] for each in cloud.floating_ips.values() if each["port_id"] == port["id"]] == [
        student.node
    ]


def assert_gone(cloud: Cloud, student: Student) -> None:
    assert named(cloud.leases, student.lease) == []
    assert named(cloud.servers, student.node) == []
    assert [each for each in cloud.floating_ips.values() if each["description"] == student.node] == []


def test_the_notebooks_have_the_cells_of_the_lab() -> None:
    begins = [cell.splitlines()[0] for cell in code_cells(CREATE)]
    assert len(begins) == 11
    assert begins[0] == "from chi import server, context, lease, network"
    assert begins[2] == "l.show()"
    assert len(code_cells(DELETE)) == 5


def test_both_notebooks_may_be_run_twice(cloud: Cloud, student: Student, machine: Machine, repository: Path) -> None:
    first = student.run(CREATE)
    assert "has reached status active" in first
    assert "Connection successful" in first
    assert "First" in first
    assert_provisioned(cloud, student)
    kept = {*cloud.leases, *cloud.servers, *cloud.groups, *cloud.rules, *cloud.floating_ips}

    commit(repository, "Second")
    second = student.run(CREATE)
    assert "Found existing lease" in second
    assert "Second" in second
    assert_provisioned(cloud, student)
    assert {*cloud.leases, *cloud.servers, *cloud.groups, *cloud.rules, *cloud.floating_ips} == kept
    assert machine.commands.count("curl -sSL https://get.docker.com/ | sudo sh") == 2
    assert machine.commands.count("sudo groupadd -f docker; sudo usermod -aG docker $USER") == 2

    deleted = student.run(DELETE)
    assert "Released 203.0.113." in deleted
    assert "Deleted lease" in deleted
    assert "Nothing of ada is left." in deleted
    assert_gone(cloud, student)
    assert cloud.floating_ips == {}
    assert {each["name"] for each in cloud.groups.values()} == PORTS.keys()

    again = student.run(DELETE)
    for line in ("node-data-ada has no floating IP.", "no server node-data-ada.", "no lease lease-data-ada."):
        assert line in again
    assert "Nothing of ada is left." in again


def test_a_fresh_kernel_finds_what_an_earlier_one_made(cloud: Cloud, student: Student, tmp_path: Path) -> None:
    student.run(CREATE)
    with started(tmp_path / "another", kernel_environment()) as another:
        replace_kernel(student, another).run(CREATE)
    assert_provisioned(cloud, student)
    assert len(cloud.floating_ips) == 1


def replace_kernel(student: Student, kernel: Kernel) -> Student:
    """The same student, in another kernel."""
    student.kernel = kernel
    return student


def test_each_cell_may_be_run_twice_at_once(cloud: Cloud, student: Student) -> None:
    student.run(CREATE, repeats=2)
    assert_provisioned(cloud, student)
    assert len(cloud.floating_ips) == 1
    assert len(cloud.groups) == len(cloud.rules) == 9
    student.run(DELETE, repeats=2)
    assert_gone(cloud, student)


def test_a_second_student_shares_the_groups_and_keeps_them(cloud: Cloud, make_student: MakeStudent) -> None:
    ada, bob = make_student("ada"), make_student("bob")
    ada.run(CREATE)
    bob.run(CREATE)
    assert_provisioned(cloud, ada)
    assert_provisioned(cloud, bob)
    assert len(cloud.groups) == len(cloud.rules) == 9
    assert len(cloud.floating_ips) == 2

    ada.run(DELETE)
    assert_gone(cloud, ada)
    assert_provisioned(cloud, bob)
    assert len(cloud.floating_ips) == 1


@pytest.mark.parametrize("taken", [False, True])
def test_an_address_that_outlived_its_server_is_released_unless_another_server_has_it(
    cloud: Cloud, student: Student, taken: bool
) -> None:
    address = allocated(cloud)
    address |= {"description": student.node, "port_id": "port-of-another-server" if taken else None}
    output = student.run(DELETE)
    assert (address["id"] in cloud.floating_ips) == taken
    assert ("has no floating IP" in output) == taken
