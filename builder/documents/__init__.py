"""Documents: a repository's readme, or a notebook of it, as harmless HTML for those who wait for its launch."""
