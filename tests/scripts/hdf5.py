"""HDF5 files through h5py: chunks, compression, growing and shrinking, groups, attributes, and a reader beside the writer.

usage: hdf5.py write DIR     writes tree.h5, latest.h5 and swmr.h5
       hdf5.py judge DIR     reads them again and compares everything with what was written
       hdf5.py follow FILE   reads while another writes: each line of input is a length that has been written and flushed
"""
import subprocess
import sys

import h5py
import numpy

STEP, STEPS = 1_000, 40


def noise(seed, *shape):
    return numpy.random.RandomState(seed).standard_normal(shape)


def ramp(length):
    return numpy.arange(length, dtype="i8") * 7


def write_tree(path):
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "a proof"
        file.attrs["numbers"] = noise(1, 100)
        packed = dict(chunks=(64, 64), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("packed", data=noise(2, 500, 700), **packed)
        file.create_dataset("plain", data=noise(3, 300_000))
        file.create_dataset("lzf", data=numpy.repeat(numpy.arange(100), 1_000), chunks=(512,), compression="lzf")
        grown = file.create_dataset("grown", shape=(0, 10), maxshape=(None, 10), chunks=(50, 10), compression="gzip", dtype="f8")
        for step in range(30):
            grown.resize(grown.shape[0] + 40, axis=0)
            grown[-40:] = noise(100 + step, 40, 10)
        grown.resize(1_000, axis=0)
        words = file.create_dataset("words", shape=(200,), dtype=h5py.string_dtype())
        words[:] = [f"word {n} " * (n % 20) for n in range(200)]
        # Written and removed: the room is used again by what follows.
        file.create_dataset("removed", data=noise(4, 100_000))
        del file["removed"]
        for n in range(50):
            group = file.create_group(f"groups/{n % 5}/{n}")
            group.attrs.update({f"attribute {k}": k * n for k in range(12)})
            group["data"] = noise(1_000 + n, n)
        file["soft"], file["hard"] = h5py.SoftLink("/groups/3/13/data"), file["plain"]
        file["beside"] = h5py.ExternalLink("latest.h5", "/many/7")
    # Opened again, and changed in the middle.
    with h5py.File(path, "r+") as file:
        file["packed"][100:200, 100:200] = noise(5, 100, 100)
        file["plain"][1_000:2_000] = 0
        del file["groups/4"]


def judge_tree(path):
    same = numpy.testing.assert_array_equal
    with h5py.File(path, "r") as file:
        assert file.attrs["title"] == "a proof"
        same(file.attrs["numbers"], noise(1, 100))
        packed = noise(2, 500, 700)
        packed[100:200, 100:200] = noise(5, 100, 100)
        same(file["packed"][:], packed)
        plain = noise(3, 300_000)
        plain[1_000:2_000] = 0
        same(file["plain"][:], plain)
        same(file["hard"][:], plain)
        same(file["lzf"][:], numpy.repeat(numpy.arange(100), 1_000))
        same(file["grown"][:], numpy.concatenate([noise(100 + step, 40, 10) for step in range(30)])[:1_000])
        assert list(file["words"].asstr()[:]) == [f"word {n} " * (n % 20) for n in range(200)]
        assert sorted(file) == sorted("packed plain lzf grown words groups soft hard beside".split())
        assert sorted(file["groups"]) == list("0123")
        for n in (n for n in range(50) if n % 5 < 4):
            group = file[f"groups/{n % 5}/{n}"]
            assert dict(group.attrs) == {f"attribute {k}": k * n for k in range(12)}
            same(group["data"][:], noise(1_000 + n, n))
        same(file["soft"][:], noise(1_013, 13))
        same(file["beside"][:], noise(7, 7))


def write_latest(path):
    with h5py.File(path, "w", libver="latest", track_order=True) as file:
        for n in range(500):
            file[f"many/{n}"] = noise(n, n % 50)
        # So many that they leave the header of their object.
        file["many/0"].attrs.update({f"attribute {n}": noise(n, 20) for n in range(100)})
        file.create_dataset("wide", data=noise(8, 40, 40, 40), chunks=(10, 10, 10), compression="gzip", maxshape=(None, None, 40))


def judge_latest(path):
    same = numpy.testing.assert_array_equal
    with h5py.File(path, "r") as file:
        assert list(file["many"]) == [str(n) for n in range(500)], "in the order in which they were made"
        for n in range(500):
            same(file[f"many/{n}"][:], noise(n, n % 50))
        for n in range(100):
            same(file["many/0"].attrs[f"attribute {n}"], noise(n, 20))
        same(file["wide"][:], noise(8, 40, 40, 40))


def write_beside_a_reader(path):
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("data", shape=(0,), maxshape=(None,), chunks=(256,), dtype="i8")
        file.swmr_mode = True
        reader = subprocess.Popen([sys.executable, __file__, "follow", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for step in range(1, STEPS + 1):
            data.resize((step * STEP,))
            data[-STEP:] = ramp(step * STEP)[-STEP:]
            data.flush()
            reader.stdin.write(f"{step * STEP}\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "seen\n", "the reader has ended"
        reader.stdin.close()
        assert reader.wait() == 0


def follow(path):
    with h5py.File(path, "r", swmr=True) as file:
        data = file["data"]
        for line in sys.stdin:
            data.refresh()
            assert data.shape == (int(line),), f"{data.shape} although {line.strip()} were flushed"
            numpy.testing.assert_array_equal(data[:], ramp(int(line)))
            print("seen", flush=True)


def judge_growth(path):
    with h5py.File(path, "r") as file:
        numpy.testing.assert_array_equal(file["data"][:], ramp(STEP * STEPS))


verb, path = sys.argv[1:]
if verb == "follow":
    follow(path)
else:
    steps = {"write": (write_tree, write_latest, write_beside_a_reader), "judge": (judge_tree, judge_latest, judge_growth)}[verb]
    for step, name in zip(steps, ("tree.h5", "latest.h5", "swmr.h5")):
        step(f"{path}/{name}")
