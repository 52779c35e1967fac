"""Data sets in memory of lists: pictures, masks, labels, boxes, persons."""
