#!/bin/sh
# Makes blank.ext4.zst: what `--disk` begins with, an empty ext4 of 64 MiB, nearly all zeros. The guest
# makes it as large as the disk when it mounts it (EXT4_IOC_RESIZE_FS), so no host needs a mkfs, and a disk
# of any size is there at once.
#
#   rootfs/disk/build.sh       needs mke2fs (e2fsprogs) and zstd; the same bytes every time
#
# meta_bg: grows without bound, and needs no blocks kept aside for that. A journal of 16 MiB: the disk may
# outlive its machine. Nothing is left to be initialised later, which would cost a thread of the guest's.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same time, and no defaults of this machine's: every feature is named.
export E2FSPROGS_FAKE_TIME=1700000000 MKE2FS_CONFIG="$work/mke2fs.conf"
printf '[fs_types]\n\text4 = {\n\t\tfeatures = has_journal\n\t}\n\tsmall = {\n\t}\n' >"$MKE2FS_CONFIG"
features=has_journal,ext_attr,dir_index,filetype,meta_bg,extent,64bit,flex_bg,sparse_super
features=$features,large_file,huge_file,dir_nlink,extra_isize,metadata_csum
id=00000000-0000-4000-8000-000068757361
truncate -s 64M "$work/blank.ext4"
mke2fs -q -t ext4 -b 4096 -I 256 -i 16384 -m 0 -J size=16 -U $id \
    -O "none,$features" \
    -E hash_seed=$id,lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0 "$work/blank.ext4"
zstd -q -19 -f "$work/blank.ext4" -o blank.ext4.zst
