"""Lists of names, meanings of settings, sample sheets of data sets."""
