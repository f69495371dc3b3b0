"""The program of a build's Job: it brings a context, lets a back end build it, and pushes what comes of that."""
