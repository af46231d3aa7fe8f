"""A proposal: how a file of orders may be read, written as a profile with what was seen."""
