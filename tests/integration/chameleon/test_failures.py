"""Failures of provisioning: the error says what is wrong, the notebook's text what to do, and the next run works."""

from typing import Any

import pytest
from nbclient.exceptions import CellExecutionError

from chameleon.build import SOURCES
from tests.cloud.blazar import end
from tests.cloud.state import Cloud, named
from tests.cloud.student import Student, plain
from tests.integration.chameleon.conftest import MakeStudent
from tests.integration.chameleon.test_provisioning import CREATE, DELETE, assert_gone, assert_provisioned


def failure(student: Student, name: str, **options: Any) -> str:
    """Traceback of a notebook's failing cell, with what the cell printed."""
    with pytest.raises(CellExecutionError) as raised:
        student.run(name, **options)
    return plain(str(raised.value))


def text(name: str) -> str:
    """Words of a notebook's source, in one line."""
    return " ".join((SOURCES / f"{name}.md").read_text().split())


def test_no_lease_is_free(cloud: Cloud, student: Student) -> None:
    cloud.capacity = 0
    error = failure(student, CREATE)
    assert "ResourceError: Unable to make lease" in error
    assert "not enough hosts available" in error
    assert not cloud.leases
    assert "`ResourceError: Unable to make lease` means that the cloud refused the reservation." in text(CREATE)
    assert "wait until a lease ends, and run the cell again" in text(CREATE)

    cloud.capacity = 1
    student.run(CREATE)
    assert_provisioned(cloud, student)


def test_a_server_in_error_is_named_before_it_costs_an_address(cloud: Cloud, student: Student) -> None:
    cloud.broken_hosts = True
    for _ in range(2):
        assert "RuntimeError: node-data-ada is in ERROR. Delete it in Horizon" in failure(student, CREATE)
    assert not cloud.floating_ips
    assert "Delete the server in Horizon first" in text(CREATE)

    cloud.broken_hosts = False
    (server,) = named(cloud.servers, student.node)
    cloud.remove_server(server["id"])  # in Horizon
    student.run(CREATE)
    assert_provisioned(cloud, student)


def test_a_server_in_error_can_be_deleted(cloud: Cloud, student: Student) -> None:
    cloud.broken_hosts = True
    failure(student, CREATE)
    student.run(DELETE)
    assert_gone(cloud, student)


@pytest.mark.parametrize("cell", [1, 8])
def test_a_login_that_is_lost_before_a_cell_of_the_creation(cloud: Cloud, student: Student, cell: int) -> None:
    def lose(number: int) -> None:
        if number == cell:
            cloud.lose_session()

    error = failure(student, CREATE, before=lose)
    assert "requires authentication" in error
    assert "HTTP 401" in error
    assert "means: your login has expired" in text(CREATE)

    cloud.logins = True
    student.run(CREATE)
    assert_provisioned(cloud, student)
    assert len(cloud.floating_ips) == 1


def test_a_token_that_expires_is_renewed_while_the_login_lasts(cloud: Cloud, student: Student) -> None:
    student.run(CREATE, before=lambda number: cloud.tokens.clear())
    assert_provisioned(cloud, student)


@pytest.mark.parametrize("cell", [4])
def test_a_login_that_is_lost_before_a_cell_of_the_deletion(cloud: Cloud, student: Student, cell: int) -> None:
    def lose(number: int) -> None:
        if number == cell:
            cloud.lose_session()

    student.run(CREATE)
    error = failure(student, DELETE, before=lose)
    assert "requires authentication" in error
    assert "your login has expired, and the rest still exists" in text(DELETE)

    cloud.logins = True
    student.run(DELETE)
    assert_gone(cloud, student)


def test_a_group_without_its_rule_is_named(cloud: Cloud, student: Student) -> None:
    student.run(CREATE)
    (rule,) = (each for each in cloud.rules.values() if each["port_range_min"] == 8081)
    del cloud.rules[rule["id"]]
    assert "RuntimeError: allow-8081 exists without a rule for TCP port 8081" in failure(student, CREATE)
    cloud.rules[rule["id"]] = rule
    student.run(CREATE)


def test_a_lease_that_ended_is_replaced_and_its_address_used_again(cloud: Cloud, student: Student) -> None:
    student.run(CREATE)
    (lease,) = named(cloud.leases, student.lease)
    end(cloud, lease)
    assert not cloud.servers
    for _ in range(2):
        student.run(CREATE)
        assert_provisioned(cloud, student)
    assert len(cloud.floating_ips) == 1


def test_everything_is_deleted_after_the_lease_ended(cloud: Cloud, student: Student) -> None:
    student.run(CREATE)
    (lease,) = named(cloud.leases, student.lease)
    end(cloud, lease)
    student.run(DELETE)
    assert_gone(cloud, student)
    assert not cloud.floating_ips


def test_another_students_server_is_no_help_for_a_failing_one(cloud: Cloud, make_student: MakeStudent) -> None:
    ada, bob = make_student("ada"), make_student("bob")
    cloud.capacity = 1
    ada.run(CREATE)
    assert "Unable to make lease" in failure(bob, CREATE)
    bob.run(DELETE)
    assert_provisioned(cloud, ada)
