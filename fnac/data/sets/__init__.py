"""Data sets in memory of lists: images, masks, labels, boxes, persons."""
