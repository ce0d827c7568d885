#!/bin/sh
# Builds an initial RAM disk by which a stock kernel runs husk's images: the modules that husk needs
# and the kernel has not built in, a static busybox, and an /init that goes on to husk's own.
#
#   rootfs/initramfs/build.sh MODULES OUT
#
# MODULES is a directory as /lib/modules/$(uname -r) is, with modules.dep and modules.builtin; OUT is the
# file to write, for `husk run --kernel VMLINUZ --initrd OUT`. The same modules make the same bytes.
#
# Needs: tar, zstd, cpio, awk; xz where modules are compressed with it.
set -eu

# The bus, the disk and its file system, the layer on top, the talk with the host.
NEEDED="virtio_mmio virtio_blk erofs overlay vmw_vsock_virtio_transport"

# What libcrc32c, and so erofs, asks the kernel for by a name that modules.dep does not have; what
# every workload expects of a kernel; entropy; the network. Where a kernel has them as modules.
WELCOME="crc32c_generic unix ipv6 virtio_rng virtio_net"

HERE=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
MODULES=$1 OUT=$2
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

die() {
    echo "build.sh: $*" >&2
    exit 1
}

# Paths of the wanted modules and of what they need, each after what it needs itself. A module's name
# has `_` where its file may have `-`; modules.dep names the needs of each, in no order to rely on.
resolve() {
    awk -v needed="$NEEDED" -v welcome="$WELCOME" '
        function name(path) {
            sub(/.*\//, "", path)
            sub(/\.ko.*/, "", path)
            gsub(/-/, "_", path)
            return path
        }
        function load(path, needs, n, i) {
            if (path in loaded) return
            loaded[path]
            n = split(need[path], needs, " ")
            for (i = 1; i <= n; i++) load(needs[i])
            print path
        }
        FILENAME ~ /builtin$/ { builtin[name($1)]; next }
        { path = $1; sub(/:$/, "", path); $1 = ""; need[path] = $0; file[name(path)] = path }
        END {
            n = split(welcome, names, " ")
            for (i = 1; i <= n; i++) if (names[i] in file) load(file[names[i]])
            n = split(needed, names, " ")
            for (i = 1; i <= n; i++) {
                if (names[i] in file) load(file[names[i]])
                else if (!(names[i] in builtin)) {
                    print "build.sh: the kernel has no " names[i] >"/dev/stderr"
                    missing = 1
                }
            }
            exit missing
        }' "$MODULES/modules.builtin" "$MODULES/modules.dep"
}

# Uncompressed, because whoever loads them has no xz.
copy_modules() {
    mkdir "$WORK/root/modules"
    resolve >"$WORK/paths"
    while read -r path; do
        file=$(basename "$path")
        case $file in
            *.xz) file=${file%.xz} && xz -dc "$MODULES/$path" ;;
            *.zst) file=${file%.zst} && zstd -q -dc "$MODULES/$path" ;;
            *.gz) file=${file%.gz} && gzip -dc "$MODULES/$path" ;;
            *) cat "$MODULES/$path" ;;
        esac >"$WORK/module"
        mv "$WORK/module" "$WORK/root/modules/$file"
        echo "$file" >>"$WORK/root/modules/order"
    done <"$WORK/paths"
    touch "$WORK/root/modules/order"
}

# The busybox of the embedded image: the layer is the largest file of its archive.
copy_busybox() {
    mkdir "$WORK/image" "$WORK/layer"
    tar -xf "$HERE/../busybox/busybox.tar" -C "$WORK/image"
    layer=$(find "$WORK/image/blobs" -type f -size +100k)
    zstd -q -dc "$layer" | tar -x -C "$WORK/layer" ./bin
    cp "$WORK/layer/bin/busybox" "$WORK/root/bin/busybox"
    for applet in sh mount insmod switch_root reboot; do
        ln -s busybox "$WORK/root/bin/$applet"
    done
}

# One archive for everything: no clock, no user, no order of this machine in it.
pack() {
    find "$WORK/root" -type d -exec chmod 0755 {} +
    chmod 0755 "$WORK/root/init" "$WORK/root/bin/busybox"
    find "$WORK/root/modules" -type f -exec chmod 0644 {} +
    find "$WORK/root" -exec touch -h -d @0 {} +
    (cd "$WORK/root" && find . | LC_ALL=C sort |
        cpio -o -H newc --quiet --reproducible -R 0:0) >"$WORK/out"
    mv "$WORK/out" "$OUT"
}

for file in modules.dep modules.builtin; do
    [ -f "$MODULES/$file" ] || die "$MODULES has no $file: is it a directory of modules?"
done
mkdir "$WORK/root"
mkdir "$WORK/root/bin" "$WORK/root/dev" "$WORK/root/root"
cp "$HERE/init" "$WORK/root/init"
copy_modules
copy_busybox
pack
