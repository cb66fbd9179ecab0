"""The Python programs that Purkinje is measured against."""
