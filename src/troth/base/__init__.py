"""The ground floor: ids, clocks, errors, payload codec and back-off. No I/O, no database, no framework."""
