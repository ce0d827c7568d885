#!/bin/sh
# Builds the Debian images that the tests run, by the tools that people build images with.
#
#   rootfs/debian/build.sh DIR
#
# DIR/python3.tar   Debian with python3: mmdebstrap makes the root, podman the image (docker archive)
# DIR/entries       the same under layers that have everything a layer can have: podman builds
#                   them, umoci adds the ones that podman cannot make (OCI layout, tag `latest`)
# DIR/programs.tar  Debian with servers and clients of a network: nginx, redis, iperf3, curl, dig, ping
#
# What is there already and younger than its recipe is kept. Needs: mmdebstrap, podman, skopeo, umoci, tar; root rights.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

podman_() {
    podman --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run" "$@"
}

# build CONTEXT CONTAINERFILE TAG ARCHIVE
build() {
    podman_ build -q --isolation chroot -f "$2" -t "$3" "$1" >/dev/null
    podman_ save -q --format docker-archive -o "$4" "$3"
}

# make_root PACKAGES
make_root() {
    mmdebstrap -q --variant=minbase --include="$1" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$WORK/root.tar"
}

make_python3() {
    make_root python3,ca-certificates
    build "$WORK" "$HERE/python3.Containerfile" localhost/python3:1 "$OUT/python3.tar.part"
    mv "$OUT/python3.tar.part" "$OUT/python3.tar"
}

make_programs() {
    make_root nginx-light,redis-server,redis-tools,iperf3,curl,bind9-dnsutils,iputils-ping
    build "$WORK" "$HERE/programs.Containerfile" localhost/programs:1 "$OUT/programs.tar.part"
    mv "$OUT/programs.tar.part" "$OUT/programs.tar"
}

# A layer as only other builders write it: opaque directories, devices, long names in GNU's and in
# PAX's way, and a sparse file (GNU's own form of which umoci does not read).
make_layer() {
    mkdir -p "$WORK/layer/opaque" "$WORK/layer/deep"
    : >"$WORK/layer/opaque/.wh..wh..opq"
    echo new >"$WORK/layer/opaque/new"
    truncate -s 20M "$WORK/layer/sparse-$1"
    printf middle | dd of="$WORK/layer/sparse-$1" bs=1 seek=9999999 conv=notrunc status=none
    mknod -m 600 "$WORK/layer/char-$1" c 1 3
    mknod -m 660 "$WORK/layer/block-$1" b 259 70000
    long=$(printf '%0100d/' 1 2 3)
    mkdir -p "$WORK/layer/deep/$long"
    echo deep >"$WORK/layer/deep/${long}file"
    # shellcheck disable=SC2086 # words on purpose
    tar --format="$1" $2 --numeric-owner -C "$WORK/layer" -cf "$WORK/$1.tar" .
    rm -r "$WORK/layer"
}

make_entries() {
    skopeo copy -q "docker-archive:$OUT/python3.tar" "docker-archive:$WORK/base.tar:localhost/python3:1"
    podman_ load -q -i "$WORK/base.tar" >/dev/null
    build "$HERE" "$HERE/entries.Containerfile" localhost/entries:1 "$WORK/entries.tar"
    layout=$OUT/entries.part
    rm -rf "$layout"
    skopeo copy -q "docker-archive:$WORK/entries.tar" "oci:$layout:latest"
    make_layer gnu ""
    make_layer pax --sparse
    for format in gnu pax; do
        umoci raw add-layer --image "$layout:latest" "$WORK/$format.tar"
    done
    umoci gc --layout "$layout"
    rm -rf "$OUT/entries"
    mv "$layout" "$OUT/entries"
    touch "$OUT/entries"
}

# is_current RESULT: made since this folder last changed.
is_current() {
    [ -e "$1" ] && [ -z "$(find "$HERE" -newer "$1" -type f)" ]
}

is_current "$OUT/python3.tar" || make_python3
is_current "$OUT/entries" || make_entries
is_current "$OUT/programs.tar" || make_programs
