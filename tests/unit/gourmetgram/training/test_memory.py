"""The memory limit of a container, read from files as both versions of control groups have them."""

from pathlib import Path

import pytest

from gourmetgram.training.memory import MemoryCurve, MemoryGroup, describe_limit

GIGABYTE = 2**30


def files(folder: Path, contents: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own"
    file.write_text(text)
    return file


def version_2(folder: Path, limit: str) -> None:
    events = "low 0\nhigh 0\nmax 31\noom 1\noom_kill 2\noom_group_kill 0\n"
    files(folder, {"memory.max": f"{limit}\n", "memory.peak": f"{GIGABYTE}\n", "memory.events": events})


def version_1(folder: Path, limit: int) -> None:
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    files(
        folder / "memory",
        {
            "memory.limit_in_bytes": f"{limit}\n",
            "memory.max_usage_in_bytes": "500000000\n",
            "memory.oom_control": control,
        },
    )


def test_version_2_in_a_container(tmp_path: Path) -> None:
    version_2(tmp_path, str(GIGABYTE))
    group = MemoryGroup.find(tmp_path, own(tmp_path, "0::/\n"))
    assert group is not None
    assert (group.limit_bytes, group.killed, group.highest_bytes) == (GIGABYTE, 2, GIGABYTE)
    assert describe_limit(group) == (
        "Memory limit 1,074 MB, highest use 1,074 MB; killed at the limit so far: 2 "
        "(oom_kill in memory.events, signal 9, exit code 137)"
    )


def test_version_1_in_a_container_which_sees_the_path_of_the_host(tmp_path: Path) -> None:
    version_1(tmp_path, GIGABYTE)
    group = MemoryGroup.find(tmp_path, own(tmp_path, "5:devices:/docker/1f\n4:memory:/docker/1f\n0::/docker/1f\n"))
    assert group is not None
    assert (group.limit_bytes, group.killed, group.highest_bytes) == (GIGABYTE, 1, 500_000_000)
    assert "oom_kill in memory.oom_control" in describe_limit(group)


def test_a_group_below_the_root_is_the_own_one(tmp_path: Path) -> None:
    version_2(tmp_path, "max")
    version_2(tmp_path / "user.slice" / "a", "123")
    group = MemoryGroup.find(tmp_path, own(tmp_path, "0::/user.slice/a\n"))
    assert group is not None
    assert group.limit_bytes == 123


def test_an_old_kernel_does_not_count_the_highest_use(tmp_path: Path) -> None:
    version_2(tmp_path, str(GIGABYTE))
    (tmp_path / "memory.peak").unlink()
    assert "highest use" not in describe_limit(MemoryGroup.find(tmp_path, own(tmp_path, "0::/\n")))


@pytest.mark.parametrize("limit", [2**63 - 4096, None])
def test_without_a_limit_no_process_is_killed(tmp_path: Path, limit: int | None) -> None:
    if limit is None:
        version_2(tmp_path, "max")
    else:
        version_1(tmp_path, limit)
    group = MemoryGroup.find(tmp_path, own(tmp_path, "4:memory:/\n0::/\n"))
    assert group is None
    assert describe_limit(group) == "No memory limit applies here: no process is killed at one."


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert MemoryGroup.find(tmp_path, tmp_path / "absent") is None


def test_growth_compares_the_last_third_with_the_first() -> None:
    curve = MemoryCurve(limit_mb=1_000.0)
    assert curve.growth_mb == 0
    for number, used in enumerate((400, 410, 700, 420, 430, 450)):
        curve.add(number, used)
    assert curve.growth_mb == 35
    assert curve.summary() == {"highest_mb": 700, "growth_mb": 35, "limit_mb": 1_000.0}
