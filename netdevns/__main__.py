"""`python -m netdevns` is the command; so is this file, which starts faster: `python -I -S .../__main__.py`."""

import sys


def start() -> None:
    """Runs the command, and ends the process."""
    if not __package__:  # run as a file, perhaps without `site`: what is beside this package is what can be imported
        sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0] or "..")
    is_hook = sys.argv[1:2] == ["hook"]
    if is_hook:
        import gc

        gc.disable()  # there is nothing to collect in its few milliseconds, which looking for it would make more
    if is_hook and not {"-h", "--help"} & {*sys.argv}:
        from netdevns.oci.hook_command import run

        code = run(sys.argv[2:])
    else:
        from netdevns.cli.main import program

        code = program()
    if is_hook:
        import os

        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)  # a container waits for its end: tidying up takes as long as all the rest
    sys.exit(code)


start()
