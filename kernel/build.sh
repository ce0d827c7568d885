#!/bin/sh
# Builds husk's guest kernel from a pinned, checksummed source, bit for bit the same every time
# with the same compiler, or checks that the committed one is what the tree says it is.
#
#   build.sh [--source TARBALL] [--work DIR] [--keep DIR] [--jobs N]
#   build.sh --check
#
# --source  the source tarball, instead of Debian's package (its checksum must match all the same)
# --work    where to unpack and build (default: a temporary directory, removed afterwards)
# --keep    copy vmlinux with symbols and its System.map there, for profiling
# --check   no build: do vmlinux.zst, config, fragments, patches and boot-order agree with
#           vmlinux.provenance?
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
image=$here/vmlinux.zst
provenance=$here/vmlinux.provenance
config=$here/config

# Everything that tools would otherwise take from the machine, the clock or the user.
export LC_ALL=C TZ=UTC
export SOURCE_DATE_EPOCH=1735689600
export KBUILD_BUILD_TIMESTAMP='Wed Jan  1 00:00:00 UTC 2025'
export KBUILD_BUILD_USER=husk KBUILD_BUILD_HOST=husk KBUILD_BUILD_VERSION=1
unset KBUILD_OUTPUT KCFLAGS KAFLAGS KCPPFLAGS CFLAGS LDFLAGS MAKEFLAGS ARCH CROSS_COMPILE

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

sha() {
    sha256sum -- "$1" | cut -d' ' -f1
}

# A value of source.lock.
lock() {
    sed -n "s/^$1=//p" "$here/source.lock"
}

# One checksum over several files, their names and their order.
sha_of_files() {
    (cd "$here" && sha256sum -- "$@") | sha256sum | cut -d' ' -f1
}

sha_fragments() {
    (cd "$here" && sha_of_files fragments/*.config)
}

sha_patches() {
    (cd "$here" && sha_of_files patches/*.patch)
}

# The tarball: the one given, the installed package's, or the package's from the archive.
find_tarball() {
    if [ -n "$source" ]; then
        printf '%s\n' "$source"
    elif [ "$(dpkg-query -W -f '${Version}' "$(lock package)" 2>/dev/null)" = "$(lock version)" ]; then
        printf '/usr/src/%s\n' "$(lock tarball)"
    else
        (cd "$work" && apt-get download "$(lock package)=$(lock version)" >&2 &&
            dpkg-deb -x ./"$(lock package)"_*.deb package) ||
            die "cannot download $(lock package)=$(lock version): give its tarball with --source"
        printf '%s/package/usr/src/%s\n' "$work" "$(lock tarball)"
    fi
}

unpack() {
    tarball=$(find_tarball)
    [ -r "$tarball" ] || die "no tarball at $tarball"
    [ "$(sha "$tarball")" = "$(lock tarball_sha256)" ] ||
        die "$tarball is not $(lock package) $(lock version): its checksum differs from source.lock"
    rm -rf "$work/src"
    mkdir "$work/src"
    tar -xf "$tarball" -C "$work/src" --strip-components=1
    for patch in "$here"/patches/*.patch; do
        patch -d "$work/src" -p1 -s -F0 <"$patch" || die "$(basename "$patch") does not apply"
    done
    # For patch 0033: a line of the linker's script for each function.
    sed 's/.*/*(.text.&)/' "$here/boot-order" >"$work/src/arch/x86/kernel/husk-order.lds"
}

kmake() {
    make -s -C "$work/src" O="$work/out" ARCH=x86_64 "$@"
}

# Kconfig drops a request silently when a dependency is missing; so ask again, one by one.
require_survivors() {
    lost=$(sed -n -e '/^CONFIG_/p' -e '/^# CONFIG_.* is not set$/p' "$here"/fragments/*.config |
        while IFS= read -r line; do
            case $line in
            '#'*)
                name=${line#'# '}
                name=${name%% *}
                ! grep -q "^$name=" "$work/out/.config" || printf '%s (asked: off)\n' "$name"
                ;;
            *) grep -qxF -- "$line" "$work/out/.config" || printf '%s\n' "$line" ;;
            esac
        done)
    [ -z "$lost" ] || die "these options did not survive the merge:
$lost"
}

configure() {
    mkdir -p "$work/out"
    kmake tinyconfig >/dev/null
    (cd "$work/out" &&
        "$work/src/scripts/kconfig/merge_config.sh" -m -O . .config "$here"/fragments/*.config >merge.log)
    kmake olddefconfig
    require_survivors
}

build() {
    kmake -j"$jobs" vmlinux
    if [ -n "$keep" ]; then
        mkdir -p "$keep"
        cp "$work/out/vmlinux" "$work/out/System.map" "$keep/"
    fi
    # The notes stay (the PVH entry is one), symbols and comments go.
    objcopy --strip-all --remove-section=.comment "$work/out/vmlinux" "$work/vmlinux"
    ! grep -qF -- "$work" "$work/vmlinux" || die "the build path leaked into vmlinux"
}

# The header of .config names the compiler again, which the provenance does already.
publish() {
    zstd -q -f --ultra -22 --single-thread --no-progress "$work/vmlinux" -o "$image"
    chmod 644 "$image"
    cp "$work/out/.config" "$config"
    write_provenance >"$provenance"
    cat "$provenance"
}

write_provenance() {
    cat <<END
source: $(lock package) $(lock version)
source_sha256: $(lock tarball_sha256)
fragments_sha256: $(sha_fragments)
patches_sha256: $(sha_patches)
order_sha256: $(sha "$here/boot-order")
config_sha256: $(sha "$config")
compiler: $(gcc --version | head -n 1)
binutils: $(ld --version | head -n 1)
zstd: $(zstd --version | grep -o 'v[0-9][0-9.]*')
vmlinux_size: $(stat -c %s "$work/vmlinux")
vmlinux_sha256: $(sha "$work/vmlinux")
vmlinux_zst_sha256: $(sha "$image")
END
}

# A field of the provenance, compared with what the tree has now.
agree() {
    recorded=$(sed -n "s/^$1: //p" "$provenance")
    [ "$recorded" = "$2" ] || die "$1 is '$2', but vmlinux.provenance says '$recorded': run kernel/build.sh"
}

check() {
    for file in "$image" "$provenance" "$config"; do
        [ -r "$file" ] || die "no built kernel here: $file is missing"
    done
    agree source "$(lock package) $(lock version)"
    agree source_sha256 "$(lock tarball_sha256)"
    agree fragments_sha256 "$(sha_fragments)"
    agree patches_sha256 "$(sha_patches)"
    agree order_sha256 "$(sha "$here/boot-order")"
    agree config_sha256 "$(sha "$config")"
    agree vmlinux_zst_sha256 "$(sha "$image")"
    if command -v zstd >/dev/null; then
        agree vmlinux_sha256 "$(zstd -q -d -c "$image" | sha256sum | cut -d' ' -f1)"
    fi
}

source='' work='' keep='' jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
    --check)
        check
        exit 0
        ;;
    --source | --work | --keep | --jobs)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
        --source) source=$(realpath -- "$2") ;;
        --work) work=$(realpath -m -- "$2") ;;
        --keep) keep=$(realpath -m -- "$2") ;;
        --jobs) jobs=$2 ;;
        esac
        shift 2
        ;;
    *) die "unknown argument $1 (see the head of this file)" ;;
    esac
done

if [ -n "$work" ]; then
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
fi
unpack
configure
build
publish
