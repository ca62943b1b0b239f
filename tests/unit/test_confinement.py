import os
import struct
import subprocess
import sys
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagelake.engine.sandbox import confinement

ALLOW, KILL, REFUSE, NOT_IMPLEMENTED = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
MACHINES = sorted(confinement._MACHINES)


def verdict(machine: str, call: int, argument: int = 0, arch: int | None = None) -> int:
    """What the kernel would answer: a small interpreter of the filter."""
    audit_arch, calls = confinement._MACHINES[machine]
    program = confinement._program(audit_arch, calls)
    data = struct.pack("=IIQQ", call, audit_arch if arch is None else arch, 0, argument)
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
    assert verdict(machine, confinement._MACHINES[machine][1][name]) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["memfd_create", "shmget", "semget", "msgget", "mq_open"])
def test_refuses_memory_that_is_no_address_space(machine: str, name: str) -> None:
    assert verdict(machine, confinement._MACHINES[machine][1][name]) == REFUSE
    assert verdict(machine, 447) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_a_process_cannot_choose_to_outlive_its_parent(machine: str) -> None:
    prctl = confinement._MACHINES[machine][1]["prctl"]
    assert verdict(machine, prctl, 1) == REFUSE
    assert verdict(machine, prctl, 15) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_allows_threads_but_no_processes(machine: str) -> None:
    clone = confinement._MACHINES[machine][1]["clone"]
    assert verdict(machine, clone, 0x003D0F00) == ALLOW
    assert verdict(machine, clone, 17) == REFUSE
    assert verdict(machine, 435) == NOT_IMPLEMENTED


@pytest.mark.parametrize("machine", MACHINES)
def test_allows_signals_to_itself_only(machine: str) -> None:
    calls = confinement._MACHINES[machine][1]
    for name in ("kill", "tgkill"):
        assert verdict(machine, calls[name], os.getpid()) == ALLOW
        assert verdict(machine, calls[name], os.getppid()) == REFUSE
        assert verdict(machine, calls[name], 0xFFFFFFFF) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_ends_a_process_that_speaks_for_another_machine(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL
    assert verdict(machine, 0x40000000 | 41) == KILL


def test_without_a_filter_an_ordinary_user_can_start_no_process() -> None:
    program = """
        import os
        from imagelake.engine.sandbox import confinement

        confinement._MACHINES.clear()
        if os.getuid() == 0:
            os.setuid(65534)
        confinement.forbid_processes_and_network()
        try:
            if os.fork() == 0:
                os._exit(0)
            print("forked")
        except BlockingIOError:
            print("refused")
    """
    assert subprocess.check_output([sys.executable, "-c", dedent(program)], text=True) == "refused\n"


def test_a_process_ends_with_a_parent_that_is_gone_already() -> None:
    program = "from imagelake.engine.sandbox import confinement; confinement.end_with(1 << 30, 15); print('goes on')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (-15, b"")


@given(machine=st.sampled_from(MACHINES), call=st.integers(0, 500), argument=st.integers(0, 2**31))
def test_every_call_has_a_verdict(machine: str, call: int, argument: int) -> None:
    calls = confinement._MACHINES[machine][1]
    answer = verdict(machine, call, argument)
    if call not in calls.values() and call not in confinement._SAME_EVERYWHERE and call != 435:
        assert answer == ALLOW
