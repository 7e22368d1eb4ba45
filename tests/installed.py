"""Commands of an installed copy where some folders can only be read, whoever asks:

    python -I installed.py READ_ONLY[:READ_ONLY…] COMMAND…

The first folder is the copy's own. A program rather than permissions, which root does not heed.
"""

import os
import sys

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def changed(event, arguments):
    """The path that an audited event is about to change, or None."""
    if event in CHANGES:
        return arguments[0]
    if event == "open" and arguments[2] & WRITES:
        return arguments[0]
    return None


def only_read(folders):
    """From now on whatever would change something in these folders is refused."""

    def refuse(event, arguments):
        path = changed(event, arguments)
        if path is None or isinstance(path, int):
            return
        path = os.path.abspath(os.fsdecode(path))
        if any(path == folder or path.startswith(f"{folder}/") for folder in folders):
            raise PermissionError(13, "Permission denied", path)

    sys.addaudithook(refuse)


def main():
    folders = sys.argv[1].split(":")
    only_read(folders)
    sys.path.insert(0, folders[0])
    import hashlab
    from hashlab import cli

    print(f"hashlab of {os.path.dirname(hashlab.__file__)}")
    for command in sys.argv[2:]:
        print(f"$ {command}", flush=True)
        try:
            code = cli.main(command.split())
        except SystemExit as end:
            code = end.code
        print(f"exit {code}", flush=True)
    from hashlab.chapters import reported

    print(f"{len(reported.load('dmsh'))} figures of DMSH, {len(reported.context())} of others")


if __name__ == "__main__":
    main()
