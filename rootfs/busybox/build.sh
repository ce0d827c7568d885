#!/bin/sh
# Builds the image that is embedded in husk: Debian's static busybox, as an OCI archive.
#
#   rootfs/busybox/build.sh           rebuilds rootfs/busybox/busybox.tar, byte for byte
#   rootfs/busybox/build.sh --check   says whether the committed one is what this recipe makes
#
# Needs: apt-get (to download the pinned package), dpkg-deb, tar, zstd, sha256sum.
set -eu

PACKAGE=busybox-static
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=rootfs/busybox/source.lock
. "$HERE/source.lock"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

digest() { sha256sum "$1" | cut -d' ' -f1; }

# One tar for everything: no clock, no user, no order of this machine in it.
pack() { # directory, output
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=posix \
        --pax-option=delete=atime,delete=ctime -C "$1" -cf "$2" .
}

fetch() {
    cd "$WORK"
    apt-get download -q "$PACKAGE=$VERSION" >&2
    mv ./*.deb package.deb
    [ "$(digest package.deb)" = "$SHA256" ] || {
        echo "build.sh: $PACKAGE $VERSION is not the package of source.lock" >&2
        exit 1
    }
    dpkg-deb -x package.deb package
}

# The directories and files that people expect of the busybox image.
populate() {
    root=$WORK/root
    mkdir -p "$root/bin" "$root/etc" "$root/dev" "$root/proc" "$root/sys" "$root/home" \
        "$root/usr/bin" "$root/usr/sbin" "$root/var/www" "$root/var/spool/mail"
    mkdir -m 1777 "$root/tmp"
    mkdir -m 0700 "$root/root"
    install -m 0755 "$(find "$WORK/package" -type f -path '*/bin/busybox')" "$root/bin/busybox"
    "$root/bin/busybox" --list | while read -r applet; do
        [ "$applet" = busybox ] || ln "$root/bin/busybox" "$root/bin/$applet"
    done
    ln -s ../../bin/env "$root/usr/bin/env"
    printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    # The umask of whoever runs this is not the image's.
    find "$root" -type d ! -path "$root/tmp" ! -path "$root/root" -exec chmod 0755 {} +
    chmod 0644 "$root"/etc/*
}

# put FILE: adds a blob to the layout and prints `"digest": …, "size": …`.
put() {
    name=$(digest "$1")
    cp "$1" "$WORK/layout/blobs/sha256/$name"
    printf '"digest":"sha256:%s","size":%s' "$name" "$(stat -c %s "$1")"
}

assemble() {
    mkdir -p "$WORK/layout/blobs/sha256"
    cd "$WORK"
    pack root layer.tar
    zstd -q --ultra -22 --no-progress -T1 layer.tar -o layer.tar.zst
    diff_id=$(digest layer.tar)
    printf '{"created":"1970-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"],"Labels":{"org.opencontainers.image.title":"busybox","org.opencontainers.image.version":"%s"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$VERSION" "$diff_id" >config.json
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd",%s}]}' \
        "$(put config.json)" "$(put layer.tar.zst)" >manifest.json
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/busybox:latest"}}]}' \
        "$(put manifest.json)" >layout/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' >layout/oci-layout
    find layout -type f -exec chmod 0644 {} +
    find layout -type d -exec chmod 0755 {} +
    pack layout busybox.tar
}

fetch
populate
assemble
if [ "${1-}" = --check ]; then
    cmp "$WORK/busybox.tar" "$HERE/busybox.tar"
else
    cp "$WORK/busybox.tar" "$HERE/busybox.tar"
fi
