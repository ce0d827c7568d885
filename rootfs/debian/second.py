"""The second layer: takes, replaces and changes what the first one has."""

import os
import shutil

shutil.rmtree("/t/gone")
os.remove("/t/rm")
os.remove("/t/hard-a")
shutil.rmtree("/t/becomes-file")
shutil.rmtree("/t/becomes-link")
os.remove("/t/becomes-dir")
os.symlink("dir", "/t/becomes-link")
os.mkdir("/t/becomes-dir")
for name in ("/t/becomes-file", "/t/becomes-dir/x"):
    with open(name, "w", encoding="utf-8") as file:
        file.write("new\n")
os.rename("/t/moved", "/t/dir/moved")
os.chmod("/t/dir/kept", 0o600)
os.link("/t/setgid", "/t/dir/hard-to-lower")
with open("/t/large", "r+", encoding="utf-8") as large:
    large.write("changed")
for number in range(0, 700, 3):
    os.remove(f"/t/sticky/{number:04}")
