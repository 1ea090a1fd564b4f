"""What goes on the boot disk, collected from a Debian tree."""

import ast
import fnmatch
import glob
import os
from typing import NamedTuple

from codaboot import cli, facts

TOP = ("bin", "sbin", "lib", "lib64")  # merged into /usr, as Debian has it


class Entry(NamedTuple):
    """One object on the disk. `kind` is dir, file or link; `source` a path, or a target."""

    kind: str
    source: str
    mode: int
    part: str


def needs_of(source):
    """The NEEDS tuple in the text of a command, without running it."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NEEDS":
            return ast.literal_eval(node.value)
    return ()


def parse_list(text):
    """The lines of a disk.d file, without comments and blanks."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def canonical(path):
    """The place of `path` on the disk, where /bin and its like are links into /usr."""
    path = os.path.normpath("/" + path.lstrip("/"))
    return "/usr" + path if path.split("/")[1] in TOP else path


class Disk:
    """The entries of the disk while they are collected from the tree `source`."""

    def __init__(self, source):
        self.source = source
        self.entries = {"/usr": Entry("dir", "", 0o755, "base")}
        for top in TOP:
            self.entries["/usr/" + top] = Entry("dir", "", 0o755, "base")
            self.entries["/" + top] = Entry("link", "usr/" + top, 0, "base")

    def find(self, path):
        """The real path of `path` in the tree, links followed inside it, or None."""
        try:
            return facts.inside(self.source, path)
        except OSError:
            return None

    def holds(self, source):
        """Whether the file `source` is of the tree."""
        return os.path.commonpath([os.path.realpath(source), os.path.realpath(self.source)]) == \
            os.path.realpath(self.source)

    def put(self, path, entry):
        path = canonical(path)
        parent = os.path.dirname(path)
        if parent != "/" and parent not in self.entries:
            self.put(parent, Entry("dir", "", 0o755, entry.part))
        self.entries[path] = entry

    def file(self, path, source, part, mode=None):
        """The file `source` at `path`, with the libraries it is linked against."""
        if canonical(path) in self.entries:
            return
        if mode is None:
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.put(path, Entry("file", source, mode, part))
        for library in self.libraries(source):
            self.file(*library, part)

    def text(self, path, text, part, work):
        """The file `path` with the words `text`; it is kept in the directory `work`."""
        made = f"{work}/texts{path}"
        os.makedirs(os.path.dirname(made), exist_ok=True)
        with open(made, "w") as file:
            file.write(text)
        self.entries.pop(canonical(path), None)
        self.file(path, made, part, 0o644)

    def tree(self, path, source, part):
        """A file or a directory with all in it."""
        if not os.path.isdir(source):
            return self.file(path, source, part)
        self.put(path, Entry("dir", "", 0o755, part))
        for name in sorted(os.listdir(source)):
            inside = os.path.join(source, name)
            if name == "__pycache__" or name.endswith((".pyc", ".egg-info")):
                continue
            if os.path.islink(inside):
                self.put(f"{path}/{name}", Entry("link", os.readlink(inside), 0, part))
            else:
                self.tree(f"{path}/{name}", inside, part)

    def libraries(self, source):
        """(path on the disk, path in the tree) of what the ELF file `source` needs."""
        with open(source, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return
            from elftools.elf.dynamic import DynamicSection
            from elftools.elf.elffile import ELFFile
            from elftools.elf.segments import InterpSegment

            elf = ELFFile(file)
            interpreters = [s.get_interp_name() for s in elf.iter_segments() if isinstance(s, InterpSegment)]
            dynamic = [s for s in elf.iter_sections() if isinstance(s, DynamicSection)]
            names = [tag.needed for s in dynamic for tag in s.iter_tags("DT_NEEDED")]
            own = [tag.runpath for s in dynamic for tag in s.iter_tags("DT_RUNPATH")]
            own += [tag.rpath for s in dynamic for tag in s.iter_tags("DT_RPATH")]
            triplet = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}.get(elf["e_machine"], "")
        places = [f"/usr/lib/{triplet}-linux-gnu", f"/lib/{triplet}-linux-gnu", "/usr/lib", "/lib64", "/lib"]
        for path in interpreters:
            found = self.find(path)
            if not found:
                raise cli.UsageError(f"cannot find '{path}', which '{source}' needs")
            yield path, found
        for name in names:
            found = next(filter(None, (self.find(f"{place}/{name}") for place in places)), None)
            if not found and not self.holds(source):
                # A program of this machine: where it says itself, beside it, and where all are.
                here = os.path.dirname(source)
                near = [place.replace("$ORIGIN", here) for word in own for place in word.split(":")]
                found = next((os.path.realpath(f"{place}/{name}") for place in (*near, here, *places)
                              if os.path.exists(f"{place}/{name}")), None)
            if not found:
                raise cli.UsageError(f"cannot find the library '{name}', which '{source}' needs")
            # ld.so looks in /usr/lib/TRIPLET whatever the tree's own layout was.
            yield f"{'/usr/lib64' if name.startswith('ld-linux') else places[0]}/{name}", found

    def program(self, name, applets, part):
        """The program `name`: busybox if it has it (kmod, say, is 5 MiB), else the tree's."""
        if name in applets:
            return
        for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            found = self.find(f"{place}/{name}")
            if found:
                return self.file(f"/usr/sbin/{name}", found, part)
        raise cli.UsageError(f"cannot find the program '{name}' in '{self.source}'")

    def list(self, text, part):
        """The lines of a .files list; see coda-build-disk(8) for their form."""
        rules = parse_list(text)
        refused = [rule[1:] for rule in rules if rule.startswith("-")]
        for rule in rules:
            if rule.startswith("-"):
                continue
            path, _, target = rule.partition(" -> ")
            if target:
                self.put(path, Entry("link", target, 0, part))
                continue
            path, _, mode = path.partition(" ")
            if path.endswith("/"):
                self.put(path, Entry("dir", "", int(mode or "755", 8), part))
                continue
            found = sorted(glob.glob(facts.under(self.source, path), recursive=True))
            if not found:
                raise cli.UsageError(f"cannot find '{path}' in '{self.source}'")
            for source in found:
                inside = "/" + os.path.relpath(source, self.source)
                if os.path.isdir(source) or any(fnmatch.fnmatch(inside, r) for r in refused):
                    continue
                if os.path.islink(source):
                    source = self.find(inside)
                self.file(inside, source, part)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise cli.UsageError(f"cannot read '{path}': {error.strerror}") from None
