"""What runs inside of an image's build. Standard library and the modules of `builder.engines.tools` only."""
