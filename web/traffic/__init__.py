"""The traffic between visitors and their sessions' servers, carried below ASGI.

`protocol_class(traffic)` gives the class for `uvicorn.Config(app, http=..., ws="none", loop="uvloop")`: requests below
`<base_url>user/` are carried to sessions as bytes, anything else is the app's. The app itself gets plain HTTP only.
"""

from web.traffic.protocol import protocol_class
from web.traffic.routes import Gone, Ledger, Page, Route, Routes
from web.traffic.traffic import Counters, Limits, Traffic

__all__ = ["Counters", "Gone", "Ledger", "Limits", "Page", "Route", "Routes", "Traffic", "protocol_class"]
