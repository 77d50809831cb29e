"""Data of an R package, written as R writes them."""

import gzip
import struct
import zlib


def integers(*values):
    return struct.pack(f">{len(values)}i", *values)


def r_string(text, flags=0x40009):
    return integers(flags, len(text)) + text


def r_strings(values):
    return integers(16, len(values)) + b"".join(values)


def r_object(content, version=3):
    encoding = integers(5) + b"UTF-8" if version == 3 else b""
    return b"X\n" + integers(version, 0x40201, 0x30500) + encoding + content


def r_named_list(names, values, reference=None):
    """A list with names: the symbol is written in full the first time, then referred to."""
    symbol = integers(1) + r_string(b"names") if reference is None else integers(reference)
    attributes = integers(0x402) + symbol + r_strings([r_string(n) for n in names]) + integers(0xFE)
    return integers(0x213, len(values)) + b"".join(values) + attributes


def write_database(folder, objects, version=3):
    places, blocks = [], b""
    for content in objects.values():
        raw = r_object(content, version)
        block = struct.pack(">I", len(raw)) + zlib.compress(raw)
        places.append(integers(13, 2, len(blocks), len(block)))
        blocks += block
    variables = r_named_list([name.encode() for name in objects], places)
    index = r_named_list(
        [b"variables", b"references", b"compressed"],
        [variables, integers(0xFE), integers(10, 1, 1)],
        reference=0x1FF,
    )
    (folder / "Rdata.rdb").write_bytes(blocks)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(r_object(index, version)))
    return folder / "Rdata"
