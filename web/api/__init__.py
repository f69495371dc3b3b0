"""The REST API, version 1: builds, logs, sessions and images as records; POST creates, GET only reads."""

from web.api.routes import Api, api_router

__all__ = ["Api", "api_router"]
