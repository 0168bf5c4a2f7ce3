"""The committed filters: the script's output, and what they decide, on both architectures."""

import struct

import pytest

from executor.sandbox.filters import ARCHITECTURES, blob_path
from executor.sandbox.filters.build import AUDIT_ARCH, DENIED, DENIED_STRICT, build

ALLOW, EPERM, ENOSYS = "allow", 1, 38
BOTH = [(arch, strict) for arch in ARCHITECTURES for strict in (False, True)]


def decide(blob: bytes, arch: int, number: int, *args: int) -> object:
    """Run a filter as the kernel would: `allow`, `kill` or an errno. Knows only what filters use."""
    code = [struct.unpack_from("<HBBI", blob, at) for at in range(0, len(blob), 8)]
    data = struct.pack("<IIQ6Q", number, arch, 0, *[*args, *[0] * (6 - len(args))])
    accumulator = at = 0
    while True:
        operation, jump_true, jump_false, value = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            if value == 0x7FFF0000:
                return ALLOW
            return "kill" if value == 0x80000000 else value & 0xFFFF
        else:
            passed = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: accumulator & value != 0,
            }[operation]
            at += jump_true if passed else jump_false


@pytest.mark.parametrize(("arch", "strict"), BOTH)
def test_the_committed_filter_is_what_the_script_builds(arch: str, strict: bool) -> None:
    assert blob_path(arch, strict=strict).read_bytes() == build(arch, strict=strict)


@pytest.mark.parametrize(("arch", "strict"), BOTH)
def test_every_listed_call_is_refused_and_ordinary_ones_are_not(arch: str, strict: bool) -> None:
    blob, column, audit = build(arch, strict=strict), ARCHITECTURES.index(arch), AUDIT_ARCH[arch]
    for row in DENIED.values():
        if (number := row[column]) is not None:
            assert decide(blob, audit, number) == EPERM
    for row in DENIED_STRICT.values():
        assert decide(blob, audit, row[column] or 0) == (EPERM if strict else ALLOW)
    ordinary = {"x86_64": (0, 1, 2, 9, 57, 59, 202, 231), "aarch64": (56, 63, 64, 94, 98, 221, 222)}[arch]
    assert {decide(blob, audit, number) for number in ordinary} == {ALLOW}


@pytest.mark.parametrize(("arch", "strict"), BOTH)
def test_arguments_decide_where_they_must(arch: str, strict: bool) -> None:
    blob, audit = build(arch, strict=strict), AUDIT_ARCH[arch]
    clone, socket, socketpair, ioctl = {"x86_64": (56, 41, 53, 16), "aarch64": (220, 198, 199, 29)}[arch]
    assert decide(blob, audit, clone, 0x01200011) == ALLOW  # fork
    assert decide(blob, audit, clone, 0x003D0F00) == ALLOW  # a thread
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(blob, audit, clone, flag | 17) == EPERM
    assert decide(blob, audit, 435) == ENOSYS
    for family in (1, 2, 10):
        assert decide(blob, audit, socket, family, 1 | 0o2000000) == ALLOW
        assert decide(blob, audit, socket, family, 3) == 93
    assert decide(blob, audit, socket, 2, 2, 1) == 93  # ICMP without being root
    for family in (16, 17, 38, 40):
        assert decide(blob, audit, socket, family, 1) == 97
    # The kernel reads an int: what stands in the upper half must not matter.
    assert decide(blob, audit, socket, (1 << 32) | 40, 1) == 97
    assert decide(blob, audit, socketpair, 1, 1) == ALLOW
    assert decide(blob, audit, socketpair, 2, 1) == 97
    assert decide(blob, audit, ioctl, 0, 0x5413) == ALLOW
    assert decide(blob, audit, ioctl, 0, (1 << 32) | 0x5412) == EPERM
    fcntl = {"x86_64": 72, "aarch64": 25}[arch]
    assert decide(blob, audit, fcntl, 0, 1026) == EPERM  # F_NOTIFY
    assert decide(blob, audit, fcntl, 0, 6) == ALLOW  # F_SETLK


@pytest.mark.parametrize(("arch", "strict"), BOTH)
def test_another_architecture_is_killed_and_unknown_calls_do_not_exist(arch: str, strict: bool) -> None:
    blob, audit = build(arch, strict=strict), AUDIT_ARCH[arch]
    assert decide(blob, 0x40000003, 1) == "kill"  # i386 on x86_64
    assert decide(blob, audit, 467) == ENOSYS
    if arch == "x86_64":
        assert decide(blob, audit, 0x40000000 | 1) == ENOSYS
