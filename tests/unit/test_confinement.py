import os
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagelake.engine.sandbox import filters

ALLOW, KILL, REFUSE, NOT_IMPLEMENTED = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
MACHINES = sorted(filters.MACHINES)


def verdict(machine: str, call: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would answer: a small interpreter of the filter."""
    audit_arch, calls = filters.MACHINES[machine]
    program = filters.steps(audit_arch, calls)
    padded = (*arguments, *(6 * [0]))[:6]
    data = struct.pack("=IIQ6Q", call, audit_arch if arch is None else arch, 0, *padded)
    position, value = 0, 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x06:
                return operand
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
                position += if_true if holds else if_false
            case _:
                pytest.fail(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["socket", "connect", "execve", "ptrace", "setns", "process_vm_readv", "tkill", "bpf"])
def test_refuses_what_reaches_outside(machine: str, name: str) -> None:
    assert verdict(machine, filters.MACHINES[machine][1][name]) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["memfd_create", "shmget", "semget", "msgget", "mq_open"])
def test_refuses_memory_that_is_no_address_space(machine: str, name: str) -> None:
    assert verdict(machine, filters.MACHINES[machine][1][name]) == REFUSE
    assert verdict(machine, 447) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_a_process_cannot_choose_to_outlive_its_parent(machine: str) -> None:
    prctl = filters.MACHINES[machine][1]["prctl"]
    assert verdict(machine, prctl, 1) == REFUSE
    assert verdict(machine, prctl, 15) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_allows_threads_but_no_processes(machine: str) -> None:
    clone = filters.MACHINES[machine][1]["clone"]
    assert verdict(machine, clone, 0x003D0F00) == ALLOW
    assert verdict(machine, clone, 17) == REFUSE
    assert verdict(machine, 435) == NOT_IMPLEMENTED


@pytest.mark.parametrize("machine", MACHINES)
def test_allows_signals_to_itself_only(machine: str) -> None:
    calls = filters.MACHINES[machine][1]
    for name in ("kill", "tgkill"):
        assert verdict(machine, calls[name], os.getpid()) == ALLOW
        assert verdict(machine, calls[name], os.getppid()) == REFUSE
        assert verdict(machine, calls[name], 0xFFFFFFFF) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_ends_a_process_that_speaks_for_another_machine(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL
    assert verdict(machine, 0x40000000 | 41) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("command", [8, 10, 15, 1024, 1026])
def test_no_file_sends_signals_for_it(machine: str, command: int) -> None:
    assert verdict(machine, filters.MACHINES[machine][1]["fcntl"], 3, command, os.getppid()) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_a_file_can_be_made_not_to_block_but_not_to_signal(machine: str) -> None:
    fcntl, ioctl = filters.MACHINES[machine][1]["fcntl"], filters.MACHINES[machine][1]["ioctl"]
    assert verdict(machine, fcntl, 3, 4, os.O_NONBLOCK) == ALLOW
    assert verdict(machine, fcntl, 3, 4, os.O_NONBLOCK | os.O_ASYNC) == REFUSE
    assert verdict(machine, fcntl, 3, 1, 1) == ALLOW
    assert verdict(machine, ioctl, 3, 0x5401) == ALLOW
    assert verdict(machine, ioctl, 3, 0x5452, 1) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name", ["setpriority", "sched_setscheduler", "sched_setaffinity", "sched_setattr", "sched_setparam", "ioprio_set"]
)
def test_refuses_to_change_how_processes_run(machine: str, name: str) -> None:
    assert verdict(machine, filters.MACHINES[machine][1][name]) == REFUSE


def test_a_process_ends_with_a_parent_that_is_gone_already() -> None:
    program = "from imagelake.engine.sandbox import confinement; confinement.end_with(1 << 30, 15); print('goes on')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (-15, b"")


@given(machine=st.sampled_from(MACHINES), call=st.integers(0, 500), argument=st.integers(0, 2**31))
def test_every_call_has_a_verdict(machine: str, call: int, argument: int) -> None:
    calls = filters.MACHINES[machine][1]
    answer = verdict(machine, call, argument, argument, argument)
    if call not in calls.values() and call not in filters.SAME_EVERYWHERE and call != 435:
        assert answer == ALLOW
