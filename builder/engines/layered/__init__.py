"""Engines that make images, one stage on the other, whoever carries out their Dockerfiles."""
