"""Text for people: printable names and values, lines, tables and exit codes, for every module that prints."""
