"""Disks that fail: power cuts, errors, full disks, damaged files, kills at chosen writes."""
