"""The first layer: everything that a file can be."""

import os
import struct

os.makedirs("/t/dir/inner", mode=0o750)
os.makedirs("/t/gone/below")
os.makedirs("/opaque")
os.makedirs("/t/becomes-file")
os.makedirs("/t/becomes-link")


def write(path, text="content\n", mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


for name in ("/t/file", "/t/dir/kept", "/t/dir/inner/kept", "/t/gone/below/file", "/t/rm",
             "/opaque/old", "/t/becomes-file/x", "/t/becomes-link/x", "/t/becomes-dir", "/t/moved"):
    write(name, f"{name}\n")
write("/t/empty", "")
write("/t/large", "0123456789abcdef" * 300_000)
write("/t/setuid", mode=0o4755)
write("/t/setgid", mode=0o2711)
os.mkdir("/t/sticky")
os.chmod("/t/sticky", 0o1777)
os.link("/t/file", "/t/hard-a")
os.link("/t/file", "/t/dir/hard-b")
os.symlink("file", "/t/link")
os.symlink("/nowhere/at/all", "/t/dangling")
os.symlink("x" * 3000, "/t/long-link")
os.symlink(b"\xff\xfe", b"/t/link-to-bytes")
os.mkfifo("/t/fifo", 0o620)
write("/t/" + "n" * 255)
with open(b"/t/not-utf8-\xff\xfe\n", "wb") as odd:
    odd.write(b"\0\xff")
write("/t/owned")
os.chown("/t/owned", 70_000, 80_000)
write("/t/old")
os.utime("/t/old", ns=(1, -86_400_000_000_001))
write("/t/new")
os.utime("/t/new", ns=(1, 4_000_000_000_123_456_789))
write("/t/capable", mode=0o755)
# VFS_CAP_REVISION_2, effective: CAP_NET_BIND_SERVICE (linux/capability.h).
os.setxattr("/t/capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
write("/t/attributes")
os.setxattr("/t/attributes", "user.one", b"1")
os.setxattr("/t/attributes", "user.bytes", bytes(range(256)))
os.setxattr("/t/dir", "user.of-a-directory", b"")
for number in range(700):
    write(f"/t/sticky/{number:04}", str(number))
