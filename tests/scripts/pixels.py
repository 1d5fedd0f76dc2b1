"""The pixels of a PNG with nothing but Python's own library: a decoder that shares no code with Infinite Map.

    pixels.py IMAGE > PIXELS      1024 x 1024 RGBA, 4 bytes a pixel, row by row

It reads what the PNG standard says (chunks, their checksums, zlib, filters of a row) and knows nothing of volumes. Ends with 1 and
the reason if the file is not such an image.
"""

import struct
import sys
import zlib


def chunks(data):
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        sys.exit("no PNG signature")
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(kind + body) != crc:
            sys.exit(f"chunk {kind!r} at {at} has a wrong checksum")
        yield kind, body
        at += length + 12


def pixels(data):
    parts = list(chunks(data))
    if parts[0][0] != b"IHDR" or parts[-1][0] != b"IEND":
        sys.exit("IHDR is not first or IEND not last")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", parts[0][1])
    if (depth, colour, interlace) != (8, 6, 0):
        sys.exit("not RGBA of 8 bits without interlace")
    rows = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    stride = width * 4 + 1
    if len(rows) != stride * height:
        sys.exit(f"{len(rows)} bytes of rows instead of {stride * height}")
    if any(rows[row * stride] for row in range(height)):
        sys.exit("a row has a filter other than none")
    return b"".join(rows[row * stride + 1 : (row + 1) * stride] for row in range(height))


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as image:
        sys.stdout.buffer.write(pixels(image.read()))
