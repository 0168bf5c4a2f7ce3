"""A library for LD_PRELOAD, made here: every program that loads it writes its RLIMIT_NPROC to stdout first.

An ELF file of one segment (elf(5)): header, two program headers, the dynamic section, the code.
"""

import struct

_PAGE = 0x1000
_HEADER_BYTES, _SEGMENT_BYTES, _ENTRY_BYTES = 64, 56, 16
_PT_LOAD, _PT_DYNAMIC, _ALL_RIGHTS = 1, 2, 7
_DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_INIT = 5, 6, 10, 11, 12
_ET_DYN, _EM_X86_64 = 3, 62

_CODE = bytes.fromhex(
    "4883ec18"  # sub rsp, 24
    "b82e010000 31ff be06000000 31d2 4989e2 0f05"  # prlimit64(0, RLIMIT_NPROC, 0, rsp)
    "b801000000 bf01000000 4889e6 ba08000000 0f05"  # write(1, rsp, 8)
    "4883c418 c3"  # add rsp, 24; ret
)


def _library() -> bytes:
    dynamic_at = _HEADER_BYTES + 2 * _SEGMENT_BYTES
    entries = 6
    strings_at = dynamic_at + entries * _ENTRY_BYTES
    symbols_at = strings_at + 8
    code_at = symbols_at + 24
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (_DT_STRTAB, strings_at),
            (_DT_SYMTAB, symbols_at),
            (_DT_STRSZ, 1),
            (_DT_SYMENT, 24),
            (_DT_INIT, code_at),
            (0, 0),
        )
    )
    size = code_at + len(_CODE)
    magic = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = magic + struct.pack(
        "<HHIQQQIHHHHHH",
        _ET_DYN,
        _EM_X86_64,
        1,
        0,
        _HEADER_BYTES,
        0,
        0,
        _HEADER_BYTES,
        _SEGMENT_BYTES,
        2,
        64,
        0,
        0,
    )
    load = struct.pack("<IIQQQQQQ", _PT_LOAD, _ALL_RIGHTS, 0, 0, 0, size, size, _PAGE)
    section = struct.pack("<IIQQQQQQ", _PT_DYNAMIC, _ALL_RIGHTS, *[dynamic_at] * 3, *[len(dynamic)] * 2, 8)
    return header + load + section + dynamic + bytes(8 + 24) + _CODE


LIBRARY = _library()


def records(stdout: bytes) -> list[int]:
    """The limits that were written, in the order of the programs."""
    return [limit for (limit,) in struct.iter_unpack("<Q", stdout[: len(stdout) // 8 * 8])]
