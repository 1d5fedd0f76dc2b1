# How to build, mount and test Infinite Map. Every target installs what it needs, or says exactly what to install.
#
#   make mount                        builds, makes a volume if there is none, mounts it, and says how to unmount
#   make mount VOLUME=/d/v MNT=/d/m   the same elsewhere
#   make umount                       unmounts, and returns when everything is durable
#   make test                         what .ci/run runs
#   make fuzz                         fuzzes every decoder, each for FUZZ_SECONDS; FUZZ="node wal" only these
#   make crash                        minutes of power cuts at every point, torn writes and failing disks, simulated; prints figures
#   make crash-hour                   an hour of the same, by seeds
#   make crash-real                   the next three, on real mounts:
#   make kill                         kill -9 of the daemon under a load, KILL_ROUNDS times (200)
#   make power                        a disk below the volume that forgets what was not synced, POWER_ROUNDS times (50)
#   make full                         a disk that others fill to the last byte, FULL_ROUNDS times (20); needs root
#   make replay                       what a full log costs the next mount: a daemon killed before its checkpoint
#   make wal                          what the log costs: throughput with it and without, in turn
#   make scrub                        what a scrub costs those who read meanwhile: throughput and latency with it and without, in turn
#   make metrics-cost                 what metrics cost: throughput and latency with them and without, in turn
#   make batch                        what batches of the library save: a thousand small files one by one and together, in turn
#   make rot                          2,000 flipped bits, thousands of bursts and sets of rows: all found, all mended
#   make small                        four gibibytes through a budget of 32 MiB; prints the peak of memory
#   make resize                       pools, memory, mailboxes and lanes that change each second for a minute, under a load that knows the orders
#   make million                      a million files in a thousand directories and in one; a quarter of an hour; prints figures
#   make overwrite                    a volume four fifths full overwritten twenty times, within its limit; prints what was written for each byte
#   make storm                        eight processes in the same directories for a minute
#   make programs                     SQLite, PostgreSQL, HDF5, cargo, dpkg, git, rsync and tar on a mount; half a minute of pgbench
#   make posix SUITE=path             a POSIX suite that others wrote (pjdfstest, in C or in Rust) on a fresh mount
#   make observe                      Prometheus, and Grafana where it is installed, for the mounts of this machine, until Ctrl-C
#   make deb                          a Debian package of it, in target/debian; cargo-deb makes it
#   make install                      the program and its names for mount(8), below PREFIX

SHELL    := bash
VOLUME   ?= $(HOME)/infinite.map
MNT      ?= $(HOME)/infinite
PREFIX   ?= /usr/local
CARGO    ?= cargo
TARGET   := $(or $(CARGO_TARGET_DIR),target)
FUZZ_SECONDS ?= 60
KILL_ROUNDS  ?= 200
POWER_ROUNDS ?= 50
FULL_ROUNDS  ?= 20
INFMAP   := $(TARGET)/release/infmap

# Recipes read these from the environment, where a path may hold anything.
export VOLUME MNT INFMAP

.PHONY: build mount umount test crash crash-hour crash-real kill power full replay wal scrub metrics-cost batch rot small million overwrite storm resize programs posix fuzz observe deb install

build:
	@scripts/setup build
	$(CARGO) build --release --locked

mount: build
	@scripts/setup mount
	@scripts/mount "$$INFMAP" "$$VOLUME" "$$MNT"

umount:
	"$$INFMAP" umount "$$MNT"

test:
	@scripts/setup build mount test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --locked

fuzz:
	@scripts/setup build
	@scripts/fuzz '$(FUZZ_SECONDS)' $(FUZZ)

crash:
	@scripts/setup build
	$(CARGO) test --release --locked -p infmap-actors --test crash -- --include-ignored --nocapture --test-threads 1 points:: failing::

crash-hour:
	@scripts/setup build
	$(CARGO) test --release --locked -p infmap-actors --test crash -- --include-ignored --skip points:: --skip failing::

crash-real: kill power full

kill:
	@scripts/setup build mount test
	INFMAP_KILL_ROUNDS='$(KILL_ROUNDS)' $(CARGO) test --release --locked --test kill -- --nocapture

power:
	@scripts/setup build mount test
	INFMAP_POWER_ROUNDS='$(POWER_ROUNDS)' $(CARGO) test --release --locked --test power -- --nocapture

full:
	@scripts/setup build mount test
	INFMAP_FULL_ROUNDS='$(FULL_ROUNDS)' $(CARGO) test --release --locked --test full -- --nocapture

replay:
	@scripts/setup build mount test
	INFMAP_REPLAY_MIB=128 $(CARGO) test --release --locked --test replay -- --nocapture

wal:
	@scripts/setup build mount test
	$(CARGO) bench --locked --bench wal_overhead

scrub:
	@scripts/setup build mount test
	$(CARGO) bench --locked --bench scrub_cost

metrics-cost:
	@scripts/setup build mount test
	$(CARGO) bench --locked --bench metrics_cost

batch:
	@scripts/setup build
	$(CARGO) bench --locked --bench batch

rot:
	@scripts/setup build
	$(CARGO) test --release --locked -p infmap-storage --test rot -- --include-ignored --nocapture

small:
	@scripts/setup build mount test
	$(CARGO) test --release --locked --test budget -- --include-ignored --nocapture --test-threads 1

million:
	@scripts/setup build mount test
	$(CARGO) test --release --locked --test many -- --include-ignored --nocapture --test-threads 1

overwrite:
	@scripts/setup build
	$(CARGO) test --release --locked -p infmap-actors --lib -- --include-ignored --nocapture --test-threads 1 over

resize:
	@scripts/setup build mount test
	$(CARGO) test --release --locked -p infmap-actors --test resize -- --include-ignored --nocapture --test-threads 1
	INFMAP_RESIZE_SECONDS=60 $(CARGO) test --release --locked --test reload -- --nocapture resized

storm:
	@scripts/setup build mount test
	INFMAP_STORM_SECONDS=60 $(CARGO) test --release --locked --test storm -- --nocapture --test-threads 1

programs:
	@scripts/setup build mount test programs
	INFMAP_PGBENCH_SECONDS=30 $(CARGO) test --release --locked --test programs -- --nocapture --test-threads 1

posix: build
	@scripts/setup mount
	@scripts/posix "$$INFMAP" '$(SUITE)'

observe: build
	@scripts/setup observe
	@scripts/observe "$$INFMAP"

deb: build
	@scripts/deb '$(INFMAP)' '$(TARGET)/debian'

install: build
	install -D -m 755 '$(INFMAP)' '$(DESTDIR)$(PREFIX)/bin/infmap'
	install -d '$(DESTDIR)/sbin'
	for name in config/debian/sbin/*; do ln -sf '$(PREFIX)/bin/infmap' "$(DESTDIR)/sbin/$${name##*/}"; done
