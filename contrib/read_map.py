#!/usr/bin/env python3
"""Lists and extracts the files of an Infinite Map volume from its PNG images alone. Needs Python 3 and nothing else (but see zstd).

    read_map.py IMAGES_DIR             list all paths with mode and size
    read_map.py IMAGES_DIR OUT [PATH]  extract them, or PATH and what is below it, into the new directory OUT

How it works, for whoever has to do it again (docs/format.md has every bit). Integers are little-endian, in keys big-endian.
1. A volume is a set of PNG images of 1024 x 1024 RGBA pixels, under any names. Chunk imID says which image it is: (place, generation).
   Pixels are bytes, four each. 4096 of them are a cluster: a tile of 256 x 4 pixels, row by row. 16 clusters are a square of 4 x 4 tiles,
   along the curve in TILES; 64 squares are stacked. So (place, generation, cluster number) is an address.
2. Some images carry a root in chunk imRT, twice. The newest (highest generation) points to the root node of the name tree: address, number of
   clusters, CRC32. A node is a header and a body, raw or zstd; inner nodes hold keys and pointers, leaves hold keys and values.
3. A key is: space, number of the inode, kind, rest. Kinds: 1 attributes (mode, size, ..), 2 a name in a directory, 4 an extent (where
   bytes of a file are, from an offset on), 6 the target of a link, 7 the content of a small file. Inode 1 is the root directory.
4. An extent is clusters of one image, raw or one zstd frame of up to 64 KiB, each cluster with its CRC32. What no extent covers is zero.
Everything is verified by these checksums. What is damaged is said, and left out: repair from parity needs `infmap recover`."""
import functools, os, stat, struct, subprocess, sys, zlib

TILES = [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (3, 0), (3, 1), (2, 1), (2, 2), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (0, 2), (0, 3)]

def find_zstd():
    try:
        from compression import zstd  # Python 3.14
        return lambda data, size: zstd.decompress(data)
    except ImportError:
        pass
    try:
        import zstandard
        return lambda data, size: zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except ImportError:
        return lambda data, size: subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout

zstd_decompress = find_zstd()

def unzstd(data, size):
    try:
        out = zstd_decompress(data, size)
    except FileNotFoundError:
        raise ValueError("it is compressed, and there is no zstd: use Python 3.14, the module zstandard, or the program zstd")
    if len(out) != size:
        raise ValueError("it does not decompress to the length that it has")
    return out

def chunks(path):
    with open(path, "rb") as file:
        is_png = file.read(8) == b"\x89PNG\r\n\x1a\n"
        while is_png and len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if length > 1 << 23:
                return
            yield kind, file.read(length + 4)[:length]

def sound(data):
    return zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")

def find(directory):
    """All images by (volume, place, generation), and all roots."""
    images, roots = {}, []
    for folder, _, names in os.walk(directory):
        for path in (os.path.join(folder, name) for name in names):
            identity = None
            for kind, data in chunks(path) if os.path.isfile(path) else ():
                if kind == b"imID" and len(data) == 64 and data[:8] == b"IMAPRGN\n" and sound(data):
                    identity = struct.unpack("<16sIQ", data[16:44])
                    images.setdefault(identity, path)
                elif kind == b"imRT" and identity and data[:8] == b"IMAPROOT" and sound(data):
                    roots.append((struct.unpack("<Q", data[26:34])[0], data))
    return images, [root for _, root in sorted(set(roots), reverse=True)]

class Volume:
    def __init__(self, images, root):
        self.images, self.uuid, self.rows, self.extents = images, root[10:26], {}, {}
        self.node(root[79:106])
        for key in sorted(key for key in self.rows if key[0] == 1 and key[9] == 4):
            self.extents.setdefault(key[1:9], []).append(key)

    @functools.lru_cache(maxsize=16)
    def pixels(self, place, generation):
        path = self.images.get((self.uuid, place, generation))
        if not path:
            raise ValueError(f"image (place {place}, generation {generation:x}) is missing")
        raw = zlib.decompressobj().decompress(b"".join(data for kind, data in chunks(path) if kind == b"IDAT"), 1024 * 4097)
        return [raw[row * 4097 + 1 : (row + 1) * 4097] for row in range(1024)]

    def cluster(self, address, n):
        place, generation, first = address
        pixels, square, (x, y) = self.pixels(place, generation), (first + n) // 16, TILES[(first + n) % 16]
        return b"".join(pixels[square * 16 + y * 4 + row][x * 1024 : (x + 1) * 1024] for row in range(4))

    def node(self, pointer):
        *address, count, crc, _ = struct.unpack("<IQHBIQ", pointer)
        data = b"".join(self.cluster(address, n) for n in range(count))
        if zlib.crc32(data) != crc or data[:4] != b"IMvn":
            raise ValueError("a node of the tables is damaged")
        level, codec, pages, first, last, _, _, size, stored = struct.unpack("<BBBHHHHII", data[9:28])
        body = data[44 + first + last :][:stored]
        body = unzstd(body, size) if codec else body
        at = 0
        for _ in range(pages):
            entries, at = struct.unpack_from("<H", body, at)[0], at + 2
            for _ in range(entries):
                if level:  # key, and a pointer of 27 bytes
                    at += 29 + struct.unpack_from("<H", body, at)[0]
                    self.node(body[at - 27 : at])
                else:
                    key, value = struct.unpack_from("<HH", body, at)
                    self.rows[body[at + 4 : at + 4 + key]] = body[at + 4 + key : at + 4 + key + value]
                    at += 4 + key + value

    def long(self, space, inode, kind):
        """A value that stands in parts: length, CRC32, bytes."""
        key = struct.pack(">BQB", space, inode, kind)
        whole = b"".join(self.rows[row] for row in sorted(row for row in (key + struct.pack(">H", n) for n in range(70)) if row in self.rows))
        if whole and (len(whole) < 8 or (len(whole) - 8, zlib.crc32(whole[8:])) != struct.unpack("<II", whole[:8])):
            raise ValueError("a part of what stands in the tables is not what was stored")
        return whole[8:]

    def tree(self):
        """(path, inode, mode, size, modified) of everything, directories before what is in them."""
        names = {}
        for key, value in self.rows.items():
            if key[0] == 1 and key[9] == 2:
                names.setdefault(struct.unpack(">Q", key[1:9])[0], []).append((key[10:], struct.unpack("<Q", value[1:9])[0]))
        todo, seen = [(b"", 1)], set()
        while todo:
            path, inode = todo.pop()
            row = self.rows.get(struct.pack(">BQB", 1, inode, 1))
            if row is None or (inode in names and inode in seen):
                continue
            seen.add(inode)
            mode, size = struct.unpack("<I", row[1:5])[0], struct.unpack("<Q", row[21:29])[0]
            seconds, nanos = struct.unpack("<qI", row[81:93])
            yield path, inode, mode, size, seconds * 10**9 + nanos
            below = [(n, i) for n, i in names.get(inode, ()) if n not in (b"", b".", b"..") and b"/" not in n and b"\0" not in n]
            todo += [(path + b"/" + name if path else name, child) for name, child in sorted(below, reverse=True)]

    def write(self, inode, size, out):
        out.truncate(size)
        out.write((self.long(1, inode, 7) or self.long(2, inode, 7))[:size])
        for row in self.extents.get(struct.pack(">Q", inode), ()):
            value, (offset,) = self.rows[row], struct.unpack(">Q", row[10:])
            place, generation, first, count, codec, stored, decoded, skip, length = struct.unpack("<IQHBBIIII", value[1:33])
            from_, crcs = value[49], struct.unpack(f"<{value[50]}I", value[51:])
            data = b"\0" * (from_ * 4096)
            for n, crc in enumerate(crcs, from_):
                data += self.cluster((place, generation, first), n)
                if zlib.crc32(data[-4096:]) != crc:
                    raise ValueError(f"bytes {offset} to {offset + length} are damaged")
            data = unzstd(data[:stored], decoded) if codec else data
            out.seek(offset)
            out.write(data[skip : skip + min(length, max(0, size - offset))])

def extract(volume, out, wanted, failed):
    os.mkdir(out)
    times, found = [], False
    for path, inode, mode, size, modified in volume.tree():
        if wanted and path and path != wanted and not path.startswith(wanted + b"/") and not wanted.startswith(path + b"/"):
            continue
        found = found or path == wanted
        to = os.path.join(os.fsencode(out), path)
        try:
            if stat.S_ISDIR(mode):
                os.makedirs(to, exist_ok=True)
                times.append((to, mode, modified))
            elif stat.S_ISLNK(mode):
                os.symlink(volume.long(1, inode, 6), to)
            elif stat.S_ISREG(mode):
                with open(to, "xb") as file:
                    volume.write(inode, size, file)
                times.append((to, mode, modified))
        except (ValueError, OSError, zlib.error, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"not whole: {os.fsdecode(path)}: {error}", file=sys.stderr)
    for to, mode, modified in reversed(times):
        os.chmod(to, stat.S_IMODE(mode) & 0o777)
        os.utime(to, ns=(modified, modified))
    if not found:
        sys.exit(f"there is no {os.fsdecode(wanted)} in the volume")
    return 3 if failed else 0

def main():
    sys.stdout.reconfigure(errors="surrogateescape")  # names are bytes
    images, roots = find(sys.argv[1]) if len(sys.argv) in (2, 3, 4) else sys.exit(__doc__)
    failed = 0
    for root in roots:
        try:
            volume = Volume(images, root)
        except (ValueError, zlib.error, struct.error, subprocess.CalledProcessError) as error:
            print(f"a root cannot be read, the one before is tried, and all may be older: {error}", file=sys.stderr)
            failed += 1
            continue
        if len(sys.argv) > 2:
            return extract(volume, sys.argv[2], os.fsencode(sys.argv[3]).strip(b"/") if len(sys.argv) > 3 else b"", failed)
        for path, _, mode, size, _ in volume.tree():
            print(stat.filemode(mode), f"{size:>12}", os.fsdecode(path) or ".")
        return 3 if failed else 0
    sys.exit("no root was found that can be read")

if __name__ == "__main__":
    sys.exit(main())
