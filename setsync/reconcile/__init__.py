"""The algorithm: how two sides find where their sets differ. Pure; asks a `SetView`."""
