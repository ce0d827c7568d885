"""Lists a tree, one JSON line per file: everything that an image says about it.

usage: python3 - ROOT [below]...     what is below these directories, or the whole tree
"""

import hashlib
import json
import os
import stat
import sys

root = os.fsencode(sys.argv[1])
tops = [os.fsencode(word) for word in sys.argv[2:]] or [b""]
first_names = {}


def shown(name):
    return name.decode("latin-1")


def describe(path, name):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    line = {"path": shown(name), "mode": oct(found.st_mode), "owner": [found.st_uid, found.st_gid],
            "mtime": found.st_mtime_ns,
            "xattrs": {key: shown(os.getxattr(path, key, follow_symlinks=False))
                       for key in sorted(os.listxattr(path, follow_symlinks=False))}}
    if kind == stat.S_IFREG:
        line["size"] = found.st_size
        with open(path, "rb") as file:
            line["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    if kind == stat.S_IFLNK:
        line["target"] = shown(os.readlink(path))
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        line["device"] = [os.major(found.st_rdev), os.minor(found.st_rdev)]
    if kind != stat.S_IFDIR:
        # Names of one file find each other by the first of them.
        line["names"] = found.st_nlink
        line["same"] = first_names.setdefault((found.st_dev, found.st_ino), shown(name))
    print(json.dumps(line, sort_keys=True))
    return kind == stat.S_IFDIR


def walk(name):
    path = os.path.join(root, name)
    if describe(path, name):
        for child in sorted(os.listdir(path)):
            walk(os.path.join(name, child))


for top in tops:
    walk(top)
