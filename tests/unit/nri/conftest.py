"""The profile must be loaded before a module of this folder is: a property takes its settings from it."""

from tests.property import profiles

profiles.load()
