"""The kernel on the boot disk: its version, and the modules that are wanted of it."""

import os

from codaboot import cli, run

from bootdisk.disk import read


def parse_dep(text):
    """modules.dep(5) as {module name: (path, [paths it depends on])}."""
    table = {}
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        table[module_name(path)] = (path, rest.split())
    return table


def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def module_paths(table, wanted):
    """The paths of the `wanted` modules after those they depend on, and the names not found."""
    paths, missing = [], []
    for name in wanted:
        path, depends = table.get(name.replace("-", "_"), (None, []))
        if path is None:
            missing.append(name)
        else:
            # modules.dep lists the nearest dependency first; insmod needs it last.
            paths += [p for p in [*reversed(depends), path] if p not in paths]
    return paths, missing


def choose(version, disk):
    """The wanted kernel version; with auto the only one in the tree. Raises UsageError."""
    modules = disk.find("/lib/modules")
    have = sorted(os.listdir(modules)) if modules else []
    if version == "auto" and len(have) == 1:
        return have[0]
    if version not in have:
        raise cli.UsageError(f"cannot choose kernel '{version}' in '{disk.source}'",
                             f"--kernel must be one of: {', '.join(have) or 'none there'}")
    return version


def put_modules(disk, version, modules, early, work):
    """Put `modules` and depmod's tables for them on the disk; the paths of the `early` ones."""
    home = disk.find(f"/lib/modules/{version}")
    # depmod writes its tables beside the modules, and the tree is not ours to write to.
    made = f"{work}/lib/modules/{version}"
    os.makedirs(made)
    for name in os.listdir(home):
        if name in ("kernel", "updates", "extra", "modules.order") or name.startswith("modules.builtin"):
            os.symlink(f"{home}/{name}", f"{made}/{name}")
    run.program(["depmod", "-b", work, version], timeout=300)
    table = parse_dep(read(f"{made}/modules.dep"))
    builtin = {module_name(line) for line in read(f"{home}/modules.builtin").split()}
    wanted, missing = module_paths(table, [*early, *modules])
    missing = [name for name in missing if name.replace("-", "_") not in builtin]
    if missing:
        raise cli.UsageError(f"cannot find kernel modules: {', '.join(missing)}")
    target = f"/usr/lib/modules/{version}"
    for path in wanted:
        disk.file(f"{target}/{path}", f"{home}/{path}", "modules", 0o644)
    names = {module_name(path) for path in wanted}
    for name in ("modules.dep", "modules.alias", "modules.symbols"):
        lines = [line for line in read(f"{made}/{name}").splitlines(True)
                 if module_name(line.split(":")[0] if name == "modules.dep" else line.split()[-1]) in names]
        with open(f"{work}/{name}", "w") as file:
            file.writelines(lines)
        disk.file(f"{target}/{name}", f"{work}/{name}", "modules", 0o644)
    disk.file(f"{target}/modules.builtin", f"{home}/modules.builtin", "modules", 0o644)
    return [f"{home}/{path}" for path in module_paths(table, early)[0]]
