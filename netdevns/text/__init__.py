"""What people read: names and values made printable, lines, tables, exit codes. For everybody who prints."""
