"""The tests of curvewatch, room by room."""
