"""Starts the command: `python -m netdevns`, or this file itself (`python -I -S .../__main__.py`), as hook lines do."""

import sys

if not __package__:  # run as a file, perhaps without `site`: only the folder of this package can be imported from
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0] or "..")

if sys.argv[1:2] == ["hook"] and not {"-h", "--help"} & {*sys.argv}:
    from netdevns.oci.hook_command import run  # without the command line's modules: a third less to load

    sys.exit(run(sys.argv[2:]))
elif sys.argv[1:3] == ["nri", "--hook"] and not {"-h", "--help"} & {*sys.argv}:
    from netdevns.nri.hook import program as hook

    sys.exit(hook(sys.argv[3:]))
else:
    from netdevns.cli.main import program

    sys.exit(program())
